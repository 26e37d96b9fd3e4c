"""A run whose text changes: columns that drift are refused, with a number in place of the law; others are forecast."""

from __future__ import annotations

from math import exp
from pathlib import Path

import numpy as np
import pytest

from lrps.base.document import to_json
from lrps.costs.comparison import make_comparison
from lrps.costs.forecasts.standing import forecast_now
from lrps.costs.forecasts.version_forecast import Outlook, VersionForecast, outlook, version_forecast
from lrps.plan.plan import Plan
from lrps.report.forecast_text import forecast_remarks
from support.forecast_run import STEPS, branch_loss, forecast_plan, main_loss, write_branch, write_main


def drifting(heldout: str, step: float) -> float:
    """Return the main path's loss on a column, with noise.

    v1 is text as ever. Every later version is .15 harder until the main path reads it, then it is learned within about
    800 steps, and .04 of it is forgotten within the increment after.
    """
    noise = 0.001 * np.random.default_rng([int(heldout[1:]), round(step)]).standard_normal()
    since = step - STEPS * (int(heldout[1:]) - 1)
    if heldout == "v1":
        return main_loss(heldout, step) + noise
    learned = 0.15 * (1 - exp(-max(0.0, since) / 800))
    forgotten = 0.04 * (1 - exp(-max(0.0, since - STEPS) / 800))
    return main_loss(heldout, step) + 0.15 - learned + forgotten + noise


def look_at(plan: Plan) -> Outlook:
    comparison = make_comparison(plan)
    return outlook(plan, comparison.heldout_curves, comparison.pace, None)


def run_of(root: Path, trained: int, known: int, versions: int = 3) -> Plan:
    """Return a drifting run: its main path is known up to a step, and the first branches are finished."""
    plan = forecast_plan(root, versions)
    write_main(plan, known, drifting)
    for k in range(1, trained + 1):
        write_branch(plan, f"v{k}", drifting)
    return plan


def planned(forecast: VersionForecast):  # type: ignore[no-untyped-def]
    return next(row for row in forecast.rows if row.is_planned)


@pytest.fixture(scope="module")
def at_the_fork(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Two branches are finished, and the main path has reached the fork of v3."""
    return run_of(tmp_path_factory.mktemp("fork"), 2, 9_600)


def test_the_column_that_drifts_is_refused_and_the_other_is_not(at_the_fork: Plan) -> None:
    row = planned(version_forecast(look_at(at_the_fork), "v3"))
    steady, new = row.losses["v1"], row.losses["v3"]
    assert steady.refused is None
    assert steady.loss == pytest.approx(branch_loss("v1", 9_600, 2_400), abs=0.005)
    assert new.loss is None
    assert "left its curve at step 8,250, after the new data began at step 8,000" in new.refused
    assert row.mean_loss is None


def test_a_column_that_drifted_in_an_earlier_increment_is_refused(at_the_fork: Plan) -> None:
    """The text of v2 was learned between steps 4,000 and 6,000: no curve of that form fits all of the points."""
    refused = planned(version_forecast(look_at(at_the_fork), "v3")).losses["v2"].refused
    assert "left its curve at step" in refused


def test_the_refusal_is_recorded_when_the_branch_starts(at_the_fork: Plan) -> None:
    found = forecast_now(at_the_fork, at_the_fork.graph.by_name["branch-v3"], "start", None)
    assert found is not None
    assert found.sets["v1"].loss is not None
    assert "left its curve" in str(found.sets["v3"].refused)


def test_there_is_no_number_before_the_main_path_has_reached_the_end(at_the_fork: Plan) -> None:
    assert planned(version_forecast(look_at(at_the_fork), "v3")).losses["v3"].fallback is None


def test_the_number_is_the_main_path_at_the_end_less_the_last_gain_of_the_role(tmp_path: Path) -> None:
    look = look_at(run_of(tmp_path, 3, 16_000, versions=4))
    document = version_forecast(look, "v4")
    found = planned(document).losses["v4"].fallback
    ends = {(end.released, end.version): end.loss for end in look.ends}
    gains = {k: drifting(f"v{k}", STEPS * k) - ends[f"v{k}", f"v{k}"] for k in (1, 2, 3)}
    assert found is not None
    assert found.loss == pytest.approx(drifting("v4", 16_000) - gains[3])
    assert (found.role, found.of_version, found.half_width, found.checked) == ("new", "v3", 0.07, 2)
    assert found.gain == pytest.approx(gains[3])
    errors = [abs(ends[f"v{k}", f"v{k}"] - (drifting(f"v{k}", STEPS * k) - gains[k - 1])) for k in (2, 3)]
    assert found.mean_error == pytest.approx(sum(errors) / 2)
    fork = look.switching.branches["v4"].start
    assert abs(found.loss - branch_loss("v4", fork, 2_400, main=drifting)) < 0.07
    assert to_json(document)["rows"][2]["losses"]["v4"]["fallback"]["loss"] == found.loss
    (words,) = (line for line in forecast_remarks(document) if line.startswith("v4: "))
    assert f"instead: {found.loss:.4f} +-0.07" in words
    assert f"off by {found.mean_error:.4f} on average (2 measured losses)" in words
    assert all(each.losses["v4"].fallback is None for each in document.rows if not each.is_planned)
