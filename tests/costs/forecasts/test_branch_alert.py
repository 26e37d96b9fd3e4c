"""The alert inside a branch: in status, in the report, once to the webhook, and none for a branch within its band."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.costs.comparison import make_comparison
from lrps.costs.forecasts.branch_alert import BranchAlert, branch_alert, branch_alerts
from lrps.costs.forecasts.recorded import KIND, standing_forecasts
from lrps.costs.forecasts.standing import forecast_now
from lrps.costs.status_document import status_document
from lrps.forecast.branch import BranchPlan
from lrps.forecast.decay_integrals import decay_integrals
from lrps.ledger.writer import book_event
from lrps.plan.plan import Plan
from lrps.plan.status import plan_status
from lrps.report.status_lines import warning_lines
from lrps.report.summary import doubts
from lrps.train.path_notices import PathNotices
from support.forecast_run import GAIN, forecast_plan, main_loss, write_branch, write_losses, write_main

FORK, LENGTH = 13_600, 2_400


def expected(heldout: str, step: int) -> float:
    """Return the loss of v4's branch at a step by the law."""
    part = decay_integrals("linear", 0.0, (step - FORK) / LENGTH)
    gain = GAIN * BranchPlan(FORK, LENGTH, "linear").gain_factor * part.gain / decay_integrals("linear").gain
    return main_loss(heldout, FORK + part.progress * LENGTH) - gain


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A run in which the branch of v4 has started, and its forecast is recorded."""
    plan = forecast_plan(tmp_path)
    write_main(plan, FORK)
    for version in ("v1", "v2", "v3"):
        write_branch(plan, version)
    found = forecast_now(plan, plan.graph.by_name["branch-v4"], "start", None)
    assert found is not None
    book_event(plan.layout.ledger, KIND, FORK, 0.01, **found.facts())
    return plan


def evaluate(plan: Plan, off: dict[int, float], ends: bool = True) -> None:
    """Write evaluations of the branch of v4 that are this far above the law on v2, and on it on v1."""
    losses = [(t, {"v1": expected("v1", t), "v2": expected("v2", t) + by}) for t, by in off.items()]
    write_losses(plan, "branch-v4", losses, ends=ends)


def alerts(plan: Plan) -> dict[str, BranchAlert]:
    return branch_alerts(plan, plan_status(plan))


@pytest.mark.parametrize("off", [{14_200: 0.0, 14_800: 0.0, 16_000: 0.0}, {14_200: 0.1, 14_800: 0.0, 16_000: 0.1}])
def test_a_branch_within_its_forecast_has_no_alert(plan: Plan, off: dict[int, float]) -> None:
    evaluate(plan, off)
    assert alerts(plan) == {}
    assert make_comparison(plan).off_forecast == {}


def test_a_branch_that_leaves_its_forecast_is_reported(plan: Plan) -> None:
    evaluate(plan, {14_200: 0.0, 14_800: 0.1, 15_400: 0.1, 16_000: 0.1})
    (alert,) = alerts(plan).values()
    assert (alert.path, alert.heldout, alert.step) == ("branch-v4", "v2", 15_400)
    assert alert.forecast == pytest.approx(expected("v2", 15_400), abs=2e-3)
    assert alert.loss == expected("v2", 15_400) + 0.1
    words = "branch off its forecast: at step 15,400 its loss on v2 is"
    status = status_document(plan, plan_status(plan))
    assert any(line.startswith(f"warning: branch-v4: {words}") for line in warning_lines(status))
    assert any(words in sentence for sentence in doubts(make_comparison(plan)))


def test_facts_of_the_curve_that_a_later_version_records_change_nothing(plan: Plan) -> None:
    found = standing_forecasts(plan)["branch-v4"]
    sets = {name: replace(loss, curve={**(loss.curve or {}), "later": 1.0}) for name, loss in found.sets.items()}
    book_event(plan.layout.ledger, KIND, FORK, 0.01, **replace(found, sets=sets).facts())
    evaluate(plan, {14_200: 0.0, 14_800: 0.1, 15_400: 0.1, 16_000: 0.1})
    assert [alert.step for alert in alerts(plan).values()] == [15_400]


def test_the_webhook_hears_of_it_once(plan: Plan) -> None:
    heard: list[tuple[str, Any]] = []
    notices = PathNotices(plan, plan.graph.by_name["branch-v4"], lambda kind, facts: heard.append((kind, facts)))
    off: dict[int, float] = {}
    for step in (14_200, 14_800, 15_400):
        off[step] = 0.1
        evaluate(plan, off, ends=False)
        notices.evaluated(step, {"v2": {"loss": expected("v2", step) + 0.1}})
    ((kind, facts),) = heard
    assert (kind, facts["path"], facts["step"], facts["heldout"]) == ("forecast", "branch-v4", 14_800, "v2")
    assert "at two evaluations in a row" in facts["error"]


@pytest.mark.parametrize("order", [(14_200, 16_000, 14_800), (16_000, 14_800, 14_200)])
def test_the_webhook_hears_of_it_in_whatever_order_states_are_evaluated(plan: Plan, order: tuple[int, ...]) -> None:
    heard: list[int] = []
    notices = PathNotices(plan, plan.graph.by_name["branch-v4"], lambda _, facts: heard.append(facts["step"]))
    off: dict[int, float] = {}
    for step in order:
        off[step] = 0.1 * (step > 14_200)
        evaluate(plan, off, ends=False)
        notices.evaluated(step, {"v1": {"loss": 1.0}})
    assert heard == [16_000]


def test_an_evaluation_on_other_shards_is_none_of_the_branch(plan: Plan) -> None:
    evaluate(plan, {14_200: 0.0, 14_800: 0.1, 15_400: 0.1, 16_000: 0.1})
    status = next(each for each in plan_status(plan) if each.path.name == "branch-v4")
    found = [replace(each, manifest_sha256="0" * 64) for each in status.evaluations.values()]
    standing = standing_forecasts(plan)["branch-v4"]
    assert branch_alert(plan, standing, status.evaluations.values()) is not None
    assert branch_alert(plan, standing, found) is None


def test_a_forecast_that_was_refused_gives_no_alert(tmp_path: Path) -> None:
    plan = forecast_plan(tmp_path)
    found = forecast_now(plan, plan.graph.by_name["branch-v4"], "start", None)
    assert found is not None
    book_event(plan.layout.ledger, KIND, FORK, 0.01, **found.facts())
    evaluate(plan, {14_200: 0.5, 14_800: 0.5})
    assert alerts(plan) == {}
