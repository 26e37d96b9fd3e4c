"""Bill of some paths: everything that was paid for, by what it was used for, and what of it was waste."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lrps.costs.measured_cost import MeasuredCost


@dataclass(frozen=True)
class Bill:
    """Measured cost of some paths, all attempts included. The five uses add up to `device_hours`."""

    device_hours: float
    """Allocated device-hours."""
    money: float | None
    """Price of `device_hours`, in the currency of the plan; null if there is no price."""
    training_hours: float
    """Device-hours in optimizer steps that count, each counted once."""
    evaluating_hours: float
    """Device-hours of evaluating on held-out sets."""
    other_hours: float
    """Device-hours of saving, reading data, waiting, logging and pruning."""
    starting_hours: float
    """Device-hours from the start of processes to their first step."""
    repeating_hours: float
    """Device-hours in optimizer steps that were lost: trained again, or abandoned."""
    repeated_steps: int
    """Number of optimizer steps that were lost."""
    longest_start: str | None
    """Path whose starting took more than half of `starting_hours`, of several paths; null if there is none."""

    @property
    def waste_hours(self) -> float:
        """Device-hours that bought nothing: starting, and optimizer steps that were lost."""
        return self.starting_hours + self.repeating_hours

    def price_of(self, hours: float) -> float | None:
        """Return what some of the device-hours cost, at the mean price that was paid; None without a price."""
        if self.money is None or not self.device_hours:
            return self.money
        return self.money / self.device_hours * hours


def bill_of(cost: MeasuredCost, paths: Mapping[str, MeasuredCost]) -> Bill:
    """Return the bill of some paths. cost: that of all of them together; paths: that of each, by name."""
    uses = cost.device_hours_by_use
    starting = uses.get("starting", 0.0)
    starts = {name: each.device_hours_by_use.get("starting", 0.0) for name, each in paths.items() if each.attempts}
    longest = max(starts, key=starts.__getitem__, default=None) if len(starts) > 1 else None
    return Bill(
        device_hours=cost.device_hours,
        money=cost.money,
        training_hours=cost.productive_hours,
        evaluating_hours=uses.get("evaluating", 0.0),
        other_hours=uses.get("saving", 0.0) + uses.get("other", 0.0),
        starting_hours=starting,
        repeating_hours=cost.training_hours - cost.productive_hours,
        repeated_steps=cost.repeated_steps,
        longest_start=longest if longest is not None and starts[longest] > starting / 2 else None,
    )
