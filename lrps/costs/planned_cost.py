"""Planned cost of some steps: at the speed that a run has measured, else by the hardware of the config."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lrps.base.document import key
from lrps.costs.remaining import MeasuredSpeed
from lrps.paths.cost import Cost
from lrps.plan.plan import Plan


@dataclass(frozen=True)
class PlannedCost:
    """Cost of some optimizer steps by the config alone. Null: the config does not say what it depends on."""

    steps: int = field(metadata=key("total_steps"))
    """Number of optimizer steps."""
    tokens: int = field(metadata=key("total_tokens"))
    """Number of trained tokens."""
    flops: int | None = field(metadata=key("total_flops"))
    """Number of model FLOPs of the trained tokens."""
    device_hours: float | None
    """Number of hours of one device: at the measured speed of `lrps plan`, else by the peak FLOP/s and the MFU of the
    config's hardware."""
    wall_clock_hours: float | None
    """Number of hours with all devices at work together: those of the newest attempt at the measured speed, else those
    of the config."""
    money: float | None
    """Price of the device-hours, in the currency of the plan."""


def planned_cost(plan: Plan, steps: int, speed: MeasuredSpeed | None) -> PlannedCost:
    """Return the cost of some steps. speed: measured speed; by default the hardware of the config counts."""
    cost = step_cost(plan, steps, speed)
    hours = wall_clock_hours(plan, cost) if speed is None else steps * speed.seconds_per_step / 3600
    return PlannedCost(cost.steps, cost.tokens, cost.flops, cost.device_hours, hours, cost.money)


def step_cost(plan: Plan, steps: int, speed: MeasuredSpeed | None) -> Cost:
    """Return the cost of some steps as in `planned_cost`, without wall-clock time."""
    cost, price = plan.costs.of(steps), plan.costs.price_per_device_hour
    if speed is None:
        return cost
    hours = speed.hours(steps)
    return replace(cost, device_hours=hours, money=None if price is None else hours * price)


def wall_clock_hours(plan: Plan, cost: Cost) -> float | None:
    """Return the hours that a cost takes with all devices of the config at work together; None if not known."""
    hardware = plan.config.hardware
    return None if cost.device_hours is None or hardware is None else cost.device_hours / hardware.devices
