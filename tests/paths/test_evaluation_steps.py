"""Steps at which a main path is evaluated."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.paths.evaluation_steps import Every, evaluation_steps


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        (None, ()),
        (50, (40, 50, 100, 150, 200, 240)),
        (0.3, (30, 40, 60, 90, 142, 184, 226, 240)),
        (0.5, (40, 50, 100, 170, 240)),
        (0.999, (40, 99, 239, 240)),
        (1e-9, tuple(range(1, 241))),
    ],
    ids=str,
)
def test_steps_and_shares_count_beside_every_fork(every: Every, steps: tuple[int, ...]) -> None:
    assert evaluation_steps((0, 100, 240), (0, 40, 240), every, lambda _: Fraction(5)) == steps


@pytest.mark.parametrize(
    ("cost", "steps"),
    [
        ("0.01", (*range(10, 101, 10), *range(114, 241, 14))),
        ("0.1", (*range(10, 101, 10), *range(114, 241, 14))),
        ("0.11", (12, 25, 37, 40, 50, 62, 75, 87, 100, *range(114, 241, 14))),
        ("0.3", (40, 50, 100, 135, 170, 205, 240)),
        ("0.35", (40, 100, 135, 170, 205, 240)),
        ("0.9", (40, 240)),
        ("30", (40,)),
    ],
)
def test_auto_adds_the_points_that_are_affordable(cost: str, steps: tuple[int, ...]) -> None:
    assert evaluation_steps((0, 100, 240), (40,), "auto", lambda _: Fraction(cost)) == steps


increments = st.lists(st.integers(1, 800), min_size=1, max_size=5)


@given(increments, st.lists(st.integers(1, 3000), max_size=6), st.fractions(0, 40, max_denominator=1000), st.data())
def test_auto_costs_at_most_the_share_or_is_at_forks_alone(
    steps: list[int], forks: list[int], cost: Fraction, data: st.DataObject
) -> None:
    edges = [sum(steps[:k]) for k in range(len(steps) + 1)]
    inside = [fork for fork in forks if fork <= edges[-1]]
    found = evaluation_steps(edges, inside, "auto", lambda _: cost)
    assert set(inside) <= set(found)
    assert list(found) == sorted(set(found))
    for start, stop in pairwise(edges):
        within = {step for step in found if start < step <= stop}
        added = within - set(inside)
        assert len(added) <= 10
        assert not added or len(within) * cost * 100 <= stop - start
    # A version that comes later changes nothing before it.
    later = evaluation_steps([*edges, edges[-1] + data.draw(st.integers(1, 500))], inside, "auto", lambda _: cost)
    assert tuple(step for step in later if step <= edges[-1]) == found


@given(increments, st.floats(1e-3, 1, exclude_max=True))
def test_a_share_divides_every_increment_alike(steps: list[int], share: float) -> None:
    edges = [sum(steps[:k]) for k in range(len(steps) + 1)]
    found = evaluation_steps(edges, (), share, lambda _: Fraction(10**9))
    for start, stop in pairwise(edges):
        within = [step for step in found if start < step <= stop]
        gaps = [later - step for step, later in pairwise([start, *within])]
        assert all(abs(gap - share * (stop - start)) <= 1 for gap in gaps)
