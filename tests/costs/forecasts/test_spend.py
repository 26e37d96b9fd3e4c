"""The choice of branch lengths for a budget: what it prints compiles to what it chose, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.config.models import Config
from lrps.costs.answers.pace import UNKNOWN_PACE
from lrps.costs.curves.heldout_curve import BranchEnd, CurvePoint, HeldoutCurve
from lrps.costs.forecasts.spend import alpha_for, spend_choice
from lrps.costs.forecasts.version_forecast import Outlook, outlook, version_forecast
from lrps.forecast import ForecastRefused
from lrps.plan.plan import Plan, make_plan
from lrps.report.forecast_text import forecast_remarks, spend_remarks, spend_table
from support.compiled_paths import compiled
from support.forecast_run import branch_loss, main_loss

Make = Callable[..., Config]


def plan_of(make_config: Make, steps: int = 4_000, versions: int = 4, **paradigm: object) -> Plan:
    """Return a plan of equal versions of so many steps of 16 tokens."""
    data = {
        "root": "nowhere",
        "sequence_length": 8,
        "versions": [{"name": f"v{k}", "tokens": 16 * steps} for k in range(1, versions + 1)],
    }
    schedule = {"peak_lr": 1e-2, "warmup_steps": 100}
    return make_plan(make_config(data=data, schedule=schedule, paradigms={"path-switching": paradigm}))


def look_at(plan: Plan, trained: int = 1, known: int = 12_000, only: tuple[str, ...] = ()) -> Outlook:
    """Return the outlook of a run that follows the law. only: held-out sets of the branches; by default all."""
    sets = [increment.version for increment in plan.increments]
    points = [CurvePoint(t, each, main_loss(each, t), 100) for each in sets for t in range(250, known + 1, 250)]
    ends = []
    for version in sets[:trained]:
        path = plan.graph.by_name[f"branch-{version}"]
        for each in only or sets:
            ends.append(BranchEnd(version, path.name, path.stop, each, branch_loss(each, path.start, path.steps)))
    return outlook(plan, {"main": HeldoutCurve(tuple(points), tuple(ends), (), 0.0)}, UNKNOWN_PACE, None)


@given(st.sampled_from(["increment", "steps-so-far", "steps", "tokens"]), st.integers(2, 700), st.data())
def test_an_alpha_compiles_to_exactly_the_chosen_length(alpha_of: str, increment: int, data: st.DataObject) -> None:
    units = {"increment": increment, "steps-so-far": 2 * increment, "steps": 1, "tokens": Fraction(1, 16)}
    steps = data.draw(st.integers(1, 2 * increment - 1))
    alpha = alpha_for(Fraction(units[alpha_of]), steps)
    of_v1, schedule = 16 if alpha_of == "tokens" else 1, {"peak_lr": 1.0, "warmup_steps": 0}
    lengths = {"alpha": of_v1, "alpha_of": alpha_of, "alpha_per_version": {"v2": alpha}}
    paths = compiled([increment, increment], schedule=schedule, **lengths).paths
    assert [path.steps for path in paths if path.name == "branch-v2"] == [steps]


def test_a_tie_is_rounded_as_the_compiler_does() -> None:
    """0.02 x 625 is 12.5, which compiles to 13 steps."""
    assert alpha_for(Fraction(625), 13) == 0.02
    assert alpha_for(Fraction(625), 12) != 0.02


def test_the_table_rounds_as_the_compiler_does(make_config: Make) -> None:
    look = look_at(plan_of(make_config, 5_000, alpha=0.02), trained=0)
    rows = version_forecast(look, "v2", [Fraction(1, 2000)]).rows
    assert {row.steps for row in rows if not row.is_planned} == {3}


def test_a_config_beyond_the_budget_is_cut_even_if_nothing_else_is_clearly_better(make_config: Make) -> None:
    look = look_at(plan_of(make_config, versions=3, alpha=0.6), known=10_000)
    total = look.switching.paradigm.total_steps
    assert total == 3 * 4_000 + 2 * 2_400
    saved, reached = frozenset({5_600, 6_000, 9_600}), 9_600
    with pytest.raises(ForecastRefused, match="cannot tell") as refused:
        spend_choice(look, f"{total}steps", saved, reached)
    assert refused.value.reason == "undecided"
    choice = spend_choice(look, f"{total - 300}steps", saved, reached)
    assert choice.steps <= total - 300
    assert any("do not fit the budget, but the forecast cannot tell" in line for line in spend_remarks(choice))


def test_the_main_path_ends_at_the_last_fork_and_the_rest_is_for_branches(make_config: Make) -> None:
    look = look_at(plan_of(make_config, versions=3, alpha=0.6), known=10_000)
    choice = spend_choice(look, "16800steps", frozenset(), 1_600)
    v2, v3 = choice.versions
    assert v3.steps > 4_000
    assert choice.steps == 2_400 + v2.steps + v3.steps + max(v2.fork, v3.fork) <= 16_800
    assert v2.loss + v3.loss < (v2.planned_loss or 0) + (v3.planned_loss or 0) - v2.half_width - v3.half_width
    ends = f"The main path ends at step {max(v2.fork, v3.fork):,} instead of 9,600"
    assert any(line.startswith(ends) for line in choice.remarks)


def test_a_config_that_cannot_be_forecast_is_replaced(make_config: Make) -> None:
    """The config gives v2 five times as long a branch as v1 had, which was never tested."""
    plan = plan_of(make_config, versions=3, alpha=0.1, alpha_per_version={"v2": 0.5})
    choice = spend_choice(look_at(plan, known=10_000), "14000steps", frozenset(), 3_600)
    assert [each.planned_loss is None for each in choice.versions] == [True, False]
    assert len(spend_table(choice).rows) == 2
    assert any("cannot all be forecast" in line for line in spend_remarks(choice))


def test_a_budget_below_the_main_path_is_refused_with_what_it_takes(make_config: Make) -> None:
    plan = plan_of(make_config, versions=2, alpha=0.6)
    with pytest.raises(ForecastRefused, match="alone take 4,000 steps, more than the budget of 3,000") as refused:
        spend_choice(look_at(plan, known=6_000), "3000steps", frozenset(), 1_600)
    assert refused.value.reason == "budget"


def test_a_set_without_a_finished_branch_chooses_nothing(make_config: Make) -> None:
    plan = plan_of(make_config)
    some = spend_choice(look_at(plan, only=("v1", "v2")), "0.75ptfs", frozenset(), 1_600)
    left_out = "Held-out sets left out, as no finished branch has a loss on them: v3 for v3; v3, v4 for v4."
    assert some.remarks[0] == left_out
    with pytest.raises(ForecastRefused, match="no finished branch has a loss on a held-out set of v2") as refused:
        spend_choice(look_at(plan, only=("v4",)), "0.75ptfs", frozenset(), 1_600)
    assert refused.value.reason == "history"


def test_the_config_has_a_row_whatever_lengths_are_asked_for(make_config: Make) -> None:
    """So the fallback under drift, which is computed for the config's branch, is always there and names its steps."""
    look = look_at(plan_of(make_config), trained=3, known=16_000)
    points = tuple(replace(p, loss=p.loss + 0.1 * (p.step > 12_000)) for p in look.curve.points)
    forecast = version_forecast(replace(look, curve=replace(look.curve, points=points)), None, [Fraction(3, 10)])
    assert [(row.steps, row.is_planned) for row in forecast.rows] == [(1_200, False), (2_400, True), (1_200, False)]
    assert any("; instead: " in line for line in forecast_remarks(forecast))


def test_versions_too_short_for_a_forecast_have_no_chosen_length(make_config: Make) -> None:
    with pytest.raises(ForecastRefused, match="adds 300 steps"):
        spend_choice(look_at(plan_of(make_config, 300), known=1_200), "0.75ptfs", frozenset(), 0)
