"""When the guard lets more steps pass than single spikes explain."""

from __future__ import annotations

import pytest

from lrps.base.step_set import StepSet
from lrps.ledger.frequent_skips import frequent_skips


@pytest.mark.parametrize(
    ("passed", "step", "expected"),
    [
        ([(0, 9)], 10, 0),
        ([(0, 10)], 11, 11),
        ([(0, 10)], 1001, 0),
        ([(0, 10)], 1000, 11),
        ([(90, 90), (1100, 1109)], 1110, 0),
        ([(5 * k, 5 * k) for k in range(400)], 2000, 200),
    ],
)
def test_more_than_one_in_a_hundred_of_the_last_thousand(
    passed: list[tuple[int, int]], step: int, expected: int
) -> None:
    assert frequent_skips(StepSet.of(passed), step) == expected
