"""Tagged cost: the cost of some steps in plain numbers, with its basis."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from lrps.costs.spending import Spending

Basis = Literal["measured", "modelled"]


@dataclass(frozen=True)
class TaggedCost:
    """Cost of some steps, tagged as measured or modelled. An amount that is unknown is null."""

    steps: int | float
    """Number of optimizer steps, each counted once; a share of steps need not be a whole number."""
    tokens: int | float
    """Number of tokens trained on, repeated ones included."""
    flops: int | float | None
    """Model FLOPs of these tokens."""
    device_hours: float | None
    """Allocated device-hours."""
    training_hours: float | None
    """Device-hours in optimizer steps, repeated ones included."""
    money: float | None
    """Price of the device-hours, in the currency of the config."""
    energy_kwh: float | None
    """Energy in kWh."""
    basis: Basis | None
    """`measured`, or `modelled` if any part is a forecast; null if the device-hours are unknown."""

    @classmethod
    def of(cls, spending: Spending) -> TaggedCost:
        """Return spending as a tagged cost. Whole numbers stay integers, other fractions become floats."""
        basis: Basis = "modelled" if spending.modelled else "measured"
        return cls(
            steps=_plain(spending.steps),
            tokens=_plain(spending.tokens),
            flops=None if spending.flops is None else _plain(spending.flops),
            device_hours=spending.device_hours,
            training_hours=spending.training_hours,
            money=spending.money,
            energy_kwh=spending.energy_kwh,
            basis=None if spending.device_hours is None else basis,
        )


def _plain(value: int | Fraction) -> int | float:
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return value
