"""Number of steps between two syncs, and the steps that a sync takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.train.pending_steps import PendingSteps


def take(steps: PendingSteps, seconds: float, limit: int, begin: float = 100.0) -> list[tuple[int, float, float]]:
    """Take steps of so many seconds each until a sync is due."""
    now, step = begin, 0
    while not steps.sync_due:
        steps.begin(now)
        now, step = now + seconds, step + 1
        steps.add(step, 0.1 * step)
    return [(each.step, each.lr, seconds) for each, seconds in steps.take(now, limit)]


def test_the_clock_says_how_many_steps_a_second_holds() -> None:
    steps = PendingSteps(None)
    assert len(take(steps, 30.0, 4)) == 1, "the first step is synced at once: its duration is not known before"
    assert take(steps, 0.25, 1) == [(n, pytest.approx(0.1 * n), pytest.approx(0.25)) for n in (1, 2, 3, 4)]
    for seconds, expected in ((0.1, 10), (0.3, 3), (1.5, 1), (0.0, 10**6)):
        steps.begin(0.0)
        steps.add(1, 0.1)
        assert steps.steps_until_sync(seconds) == pytest.approx(expected, abs=1)
        steps.take(seconds, 1)


@given(every=st.integers(1, 9), seconds=st.floats(0.001, 10))
def test_a_number_that_is_given_is_kept(every: int, seconds: float) -> None:
    steps = PendingSteps(every)
    for _ in range(3):
        assert len(take(steps, seconds, every)) == every
    steps.begin(0.0)
    steps.add(1, 0.1)
    assert steps.steps_until_sync(seconds) == every
