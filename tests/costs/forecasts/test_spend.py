"""The choice of branch lengths for a budget: what it prints compiles to what it chose, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from lrps.config.models import Config
from lrps.costs.answers.pace import UNKNOWN_PACE
from lrps.costs.curves.heldout_curve import BranchEnd, CurvePoint, HeldoutCurve
from lrps.costs.forecasts.spend import alpha_for
from lrps.costs.forecasts.version_forecast import Outlook, outlook, version_forecast
from lrps.forecast.branch import BranchPlan
from lrps.plan.plan import Plan, make_plan
from support.compiled_paths import compiled

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


def main_loss(heldout: str, step: float) -> float:
    return 2.7 + 0.1 * int(heldout[1:]) + 12 * step**-0.5


def look_at(plan: Plan, trained: int = 1, known: int = 12_000, only: tuple[str, ...] = ()) -> Outlook:
    """Return the outlook of a run that follows the law. only: held-out sets of the branches; by default all."""
    sets = [increment.version for increment in plan.increments]
    points = [CurvePoint(t, each, main_loss(each, t), 100) for each in sets for t in range(250, known + 1, 250)]
    ends = []
    for version in sets[:trained]:
        path = plan.graph.by_name[f"branch-{version}"]
        branch = BranchPlan(path.start, path.steps, "linear")
        for each in only or sets:
            loss = main_loss(each, branch.main_step) - 0.06 * branch.gain_factor
            ends.append(BranchEnd(version, path.name, path.stop, each, loss))
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
