"""Steps and epochs of increments."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.paths.increments import Increment, RehearsalSet


@pytest.mark.parametrize(
    ("epochs", "steps", "unread_epoch"),
    [("1", 5, 21), ("2", 10, 42), ("1.5", 7, 42), ("0.5", 2, 21), ("2.01", 10, 63)],
)
def test_epochs_of_21_rows_in_steps_of_4(epochs: str, steps: int, unread_epoch: int) -> None:
    increment = Increment.of("v1", 21, 4, Fraction(epochs))
    assert (increment.steps, increment.unread_epoch) == (steps, unread_epoch)


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.fractions(min_value=Fraction(1, 100), max_value=20))
def test_the_steps_are_the_whole_batches_of_the_epochs(rows: int, batch: int, epochs: Fraction) -> None:
    increment = Increment.of("v1", rows, batch, epochs)
    assert increment.steps <= epochs * rows / batch < increment.steps + 1
    assert increment.used(batch) <= increment.planned_rows <= increment.unread_epoch
    assert increment.unread_epoch % rows == 0
    assert RehearsalSet("r", rows, "v1", epochs).planned_rows == increment.planned_rows
