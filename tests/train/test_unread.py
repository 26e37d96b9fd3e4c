"""How many steps are taken before the next reading, and what is known of them then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.train.unread import UnreadSteps


def take(steps: UnreadSteps, seconds: float, allowed: int, begin: float = 100.0) -> list[tuple[int, float, float]]:
    """Steps of so many seconds each until it is time to read."""
    now, step = begin, 0
    while not steps.enough:
        steps.begin(now)
        now, step = now + seconds, step + 1
        steps.add(step, 0.1 * step)
    return steps.take(now, allowed)


def test_the_clock_says_how_many_steps_a_second_holds() -> None:
    steps = UnreadSteps(None)
    assert len(take(steps, 30.0, 4)) == 1, "the first one is read: nothing is known of its length"
    assert take(steps, 0.25, 1) == [(n, pytest.approx(0.1 * n), pytest.approx(0.25)) for n in (1, 2, 3, 4)]
    for seconds, expected in ((0.1, 10), (0.3, 3), (1.5, 1), (0.0, 10**6)):
        steps.begin(0.0)
        steps.add(1, 0.1)
        assert steps.patience(seconds) == pytest.approx(expected, abs=1)
        steps.take(seconds, 1)


@given(every=st.integers(1, 9), seconds=st.floats(0.001, 10))
def test_a_number_that_is_given_is_kept(every: int, seconds: float) -> None:
    steps = UnreadSteps(every)
    for _ in range(3):
        assert len(take(steps, seconds, every)) == every
    steps.begin(0.0)
    steps.add(1, 0.1)
    assert steps.patience(seconds) == every
