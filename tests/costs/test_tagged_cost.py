"""Tagged costs: plain numbers, and a basis only where the device-hours are known."""

from __future__ import annotations

from fractions import Fraction

import pytest

from lrps.costs.spending import Spending
from lrps.costs.tagged_cost import TaggedCost


def test_whole_numbers_stay_integers_and_shares_become_floats() -> None:
    whole = TaggedCost.of(Spending(Fraction(10), Fraction(70), Fraction(700), 1.0, 2.0, None, training_hours=0.5))
    assert whole == TaggedCost(10, 70, 700, 1.0, 0.5, 2.0, None, "measured")
    assert type(whole.steps) is int
    third = TaggedCost.of(Spending(10, 70, 700).part(Fraction(1, 3)))
    assert third.steps == pytest.approx(10 / 3)
    assert type(third.steps) is float


def test_the_basis_is_that_of_the_device_hours() -> None:
    assert TaggedCost.of(Spending(1, 1, modelled=True)).basis == "modelled"
    assert TaggedCost.of(Spending(1, 1, None, None, None, None, modelled=True)).basis is None
