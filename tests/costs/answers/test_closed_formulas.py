"""The closed formulas against compiled plans."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lrps.costs.answers.closed_formulas import cumulative_steps, planned_decays, share_decays
from lrps.costs.planned.plan_document import plan_document
from support.compiled_paths import compiled

SIZES = st.lists(st.integers(1, 400), min_size=1, max_size=8)


@given(steps=SIZES, alpha=st.integers(1, 100), of=st.sampled_from(["increment", "steps-so-far"]))
def test_they_are_those_of_compiled_plans(steps: list[int], alpha: int, of: str) -> None:
    schedule = {"peak_lr": 1.0, "warmup_steps": 0}
    switching = compiled(steps, alpha=alpha / 100, alpha_of=of, schedule=schedule)
    whole = cumulative_steps(steps, share_decays(Fraction(alpha, 100), of, steps))
    assert whole.path_switching[-1] == switching.total_steps
    assert whole.ptfs[-1] == compiled(steps, kind="ptfs", schedule=schedule).total_steps
    assert whole.cpt[-1] == compiled(steps, kind="cpt", schedule=schedule, rewarm_steps=0).total_steps


@given(steps=SIZES, alpha=st.integers(1, 100))
def test_versions_only_add(steps: list[int], alpha: int) -> None:
    """The steps of the first k versions do not depend on those that follow."""
    decays = share_decays(Fraction(alpha, 100), "increment", steps)
    whole = cumulative_steps(steps, decays)
    for k in range(1, len(steps) + 1):
        assert cumulative_steps(steps[:k], decays[:k]).path_switching[-1] == whole.path_switching[k - 1]
    assert all(before < after for before, after in pairwise(whole.path_switching))


def test_decays_of_a_plan_give_its_own_steps(make: Any) -> None:
    paradigms = {"path-switching": {"alpha": 70, "alpha_of": "steps", "release_first": False}, "ptfs": {}}
    plan = make(paradigms=paradigms)
    planned = plan_document(plan)
    decays = planned_decays(plan.config.paradigms["path-switching"], planned.paradigms["path-switching"])
    assert decays is not None
    assert (decays.alpha, decays.alpha_of, decays.steps) == (70.0, "steps", (0, 70, 70, 70))
    found = cumulative_steps([500] * 4, decays.steps)
    assert found.path_switching[-1] == planned.paradigms["path-switching"].cost.steps
    assert planned_decays(plan.config.paradigms["ptfs"], planned.paradigms["ptfs"]) is None
