"""What a forecast rests on: branches of the history that the main path has now, that were known when it was made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError
from lrps.costs.answers.pace import UNKNOWN_PACE
from lrps.costs.comparison import make_comparison
from lrps.costs.curves.heldout_curve import losses_alone
from lrps.costs.forecasts.known_losses import ends_before, switching_names, switching_of
from lrps.costs.forecasts.newest_forecast import newest_forecast
from lrps.costs.forecasts.planned_loss import PlannedLoss
from lrps.costs.forecasts.spend import spend_choice
from lrps.costs.forecasts.version_forecast import Outlook, outlook, planned_losses, version_forecast
from lrps.costs.plan_forecast import plan_forecast
from lrps.forecast import ForecastRefused
from lrps.paths.amended import amended
from lrps.paths.amendments import Amendment
from lrps.plan.plan import Plan
from lrps.plan.status import begun_status, done_steps
from lrps.report.forecast_text import forecast_remarks
from lrps.report.summary import refused_forecast
from support.forecast_run import forecast_plan, main_loss, write_branch, write_main

OTHER = "forked from another state of main than the one that main has at step 5600 now"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A run of four versions: the main path is known to step 15,000, and two branches are finished."""
    plan = forecast_plan(tmp_path)
    write_main(plan, 15_000)
    for version in ("v1", "v2"):
        write_branch(plan, version)
    return plan


def look_at(plan: Plan, abandoned: str = "") -> Outlook:
    """Return the outlook of a run. abandoned: branch whose fork the main path has another state at now."""
    statuses = {status.path.name: status for status in begun_status(plan)}
    if abandoned:
        statuses[abandoned] = replace(statuses[abandoned], other_parent=OTHER)
    curve = losses_alone(plan, plan.graph.by_name["main"], statuses)
    return outlook(plan, {"main": curve}, UNKNOWN_PACE, None)


def test_a_branch_of_an_abandoned_history_counts_for_no_forecast(plan: Plan) -> None:
    """Its loss is measured and shown, but neither the law nor a simpler rule rests on it."""
    both, one = look_at(plan), look_at(plan, "branch-v2")
    assert [each.version for each in both.finished_before("v3")] == ["v1", "v2"]
    assert [each.version for each in one.finished_before("v3")] == ["v1"]
    assert {name: loss.branches for name, loss in planned_losses(both, "v3").items()}["v1"] == 2
    alone = planned_losses(one, "v3")["v1"]
    assert alone.branches == 1
    first = plan.graph.by_name["branch-v1"]
    (end,) = (end for end in one.ends if (end.released, end.version) == ("v1", "v1"))
    assert alone.curve is not None
    drop = alone.curve.at(first.start) - end.loss
    assert alone.repeat_last_drop == pytest.approx(alone.curve.at(9_600) - drop)
    assert one.trained == {"v1", "v2"}
    fallbacks = [look.fallback("v3", "v3") for look in (both, one)]
    assert [found.of_version for found in fallbacks if found is not None] == ["v2", "v1"]


def test_a_version_of_an_abandoned_history_has_no_forecast_of_what_was_known_then(plan: Plan) -> None:
    with pytest.raises(ForecastRefused, match="another state of main") as refused:
        version_forecast(look_at(plan, "branch-v2"), "v2")
    assert refused.value.reason == "abandoned"
    assert version_forecast(look_at(plan, "branch-v2"), "v1").trained
    write_branch(plan, "v3")
    write_branch(plan, "v4")
    for name, shown in (("branch-v3", True), ("branch-v4", False)):
        found, refused = newest_forecast(plan, {"main": look_at(plan, name).curve}, UNKNOWN_PACE, None)
        assert (found is not None, refused is None) == (shown, shown)


def rewound(plan: Plan, *amendments: Amendment) -> Plan:
    """Return a plan whose main path was amended after its branches were trained."""
    paths = {name: replace(path, amendments=()) for name, path in plan.graph.by_name.items()}
    paths["main"] = replace(paths["main"], amendments=amendments)
    made = replace(plan)
    vars(made).update(graph=amended(plan.graph, paths, lambda _: True), heldout=plan.heldout)
    return made


def with_power_law(plan: Plan) -> Plan:
    """Return a plan whose config has another law of the rate."""
    schedule = plan.config.schedule.model_copy(update={"power_coefficient": 1.0})
    made = replace(plan, config=plan.config.model_copy(update={"schedule": schedule}))
    vars(made).update(graph=plan.graph, heldout=plan.heldout)
    return made


@pytest.mark.parametrize(
    ("change", "words", "sentence"),
    [
        (lambda plan: rewound(plan, Amendment(2_000, peak_lr=1e-3)), "rate not constant", "another peak rate"),
        (with_power_law, "rate not constant", "schedule.power_coefficient"),
        (
            lambda plan: rewound(plan, Amendment(2_000, clip_grad_norm=0.5)),
            "optimizer changed",
            "another clip_grad_norm",
        ),
    ],
)
def test_a_main_path_that_is_not_constant_keeps_its_measured_losses_and_says_why_no_other_is_forecast(
    plan: Plan, change: Callable[[Plan], Plan], words: str, sentence: str
) -> None:
    changed = change(plan)
    losses = plan_forecast(changed, done_steps(changed), begun_status(changed)).losses
    before = plan_forecast(plan, done_steps(plan), begun_status(plan)).losses
    assert losses is not None
    assert before is not None
    assert before["branch-v2"].measured is not None
    refused = PlannedLoss(None, None, None, words)
    assert losses == {**before, "branch-v3": refused, "branch-v4": refused}
    with pytest.raises(ForecastRefused, match=sentence):
        version_forecast(look_at(changed))
    with pytest.raises(ForecastRefused, match=sentence):
        spend_choice(look_at(changed), "0.75ptfs", frozenset(), 15_000)
    comparison = make_comparison(changed)
    assert comparison.forecast is None
    assert any(line.startswith("No forecast") and sentence in line for line in refused_forecast(comparison))


def test_a_main_path_whose_amendments_were_taken_back_is_forecast(plan: Plan) -> None:
    again = rewound(plan, Amendment(2_000, peak_lr=1e-3), Amendment(1_000, skip=10))
    assert version_forecast(look_at(again)) == version_forecast(look_at(plan))
    assert not [line for line in refused_forecast(make_comparison(plan)) if line.startswith("No forecast")]


def test_a_trained_version_rests_on_no_branch_that_forked_later(tmp_path: Path) -> None:
    """v3 has so long a decay that it forks before v2 does; when it began, v2 was not finished."""
    plan = forecast_plan(tmp_path, paradigms={"path-switching": {"alpha_per_version": {"v3": 2.0}}})
    write_main(plan, 15_000, main_loss)
    write_branch(plan, "v1")
    write_branch(plan, "v2")
    second, third = (plan.graph.by_name[f"branch-{each}"] for each in ("v2", "v3"))
    assert (third.start, third.stop) == (4_000, 12_000)
    assert (ends_before(second, third, True), ends_before(second, third, False)) == (False, True)
    assert [each.version for each in look_at(plan).finished_before("v3")] == ["v1", "v2"]
    write_branch(plan, "v3")
    look = look_at(plan)
    assert [each.version for each in look.finished_before("v3")] == ["v1"]
    (row,) = (row for row in version_forecast(look, "v3").rows if row.is_planned)
    assert row.losses["v1"].branches == 1


def test_every_paradigm_of_path_switching_has_losses_and_the_forecast_names_the_others(tmp_path: Path) -> None:
    paradigms = {"path-switching": {}, "long": {"kind": "path-switching", "alpha": 0.8}}
    plan = forecast_plan(tmp_path, paradigms=paradigms)
    write_main(plan, 8_000)
    losses = plan_forecast(plan, done_steps(plan), begun_status(plan)).losses
    branches = {path.name for each in plan.graph.paradigms for path in each.paths if path.kind == "branch"}
    assert losses is not None
    assert losses.keys() == branches
    forecast = version_forecast(look_at(plan), "v1")
    assert "Not forecast here: long (" in " ".join(forecast_remarks(forecast))


def test_a_paradigm_without_branches_does_not_hide_the_others(tmp_path: Path) -> None:
    merged = {"kind": "path-switching", "release": "merge"}
    plan = forecast_plan(tmp_path, paradigms={"merged": merged, "path-switching": {}})
    assert switching_names(plan) == ("path-switching",)
    assert switching_of(plan).paradigm.name == "path-switching"
    with pytest.raises(ConfigError, match="merged is none; the config has path-switching"):
        switching_of(plan, "merged")
    with pytest.raises(ConfigError, match="and the config has none"):
        switching_of(forecast_plan(tmp_path, paradigms={"merged": merged}))
