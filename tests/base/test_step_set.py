"""Sets of steps as ranges behave as sets of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.step_set import NO_STEPS, StepSet

RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6)).map(lambda pair: (pair[0], sum(pair))))


def members(ranges: list[tuple[int, int]]) -> set[int]:
    return {step for first, last in ranges for step in range(first, last + 1)}


@given(RANGES, RANGES, st.integers(0, 40), st.integers(0, 40))
def test_ranges_are_sets(one: list[tuple[int, int]], other: list[tuple[int, int]], start: int, stop: int) -> None:
    steps, more = StepSet.of(one), StepSet.of(other)
    assert set(steps) == members(one)
    assert len(steps) == len(members(one))
    assert all((step in steps) == (step in members(one)) for step in range(40))
    assert set(steps | more) == members(one) | members(other)
    assert set(steps.within(start, stop)) == {step for step in members(one) if start <= step < stop}
    assert (steps == more) == (members(one) == members(other)), "equal sets have equal ranges"
    assert StepSet.of(steps.to_json()) == steps
    assert bool(steps) == bool(members(one))


def test_no_range_is_empty_or_negative() -> None:
    assert StepSet.of([]) == NO_STEPS
    for wrong in ([(3, 2)], [(-1, 2)]):
        with pytest.raises(ValueError, match="are no range"):
            StepSet.of(wrong)
