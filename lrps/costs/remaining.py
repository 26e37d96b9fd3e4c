"""Remaining steps, time and cost of a graph, by the measured pace where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrps.ledger.totals import Pace, pooled
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus


@dataclass(frozen=True)
class RemainingCost:
    """Cost of steps that are not trained yet. What is not known is null."""

    steps: int
    """Optimizer steps."""
    tokens: int
    """Tokens of these steps."""
    device_hours: float | None
    """Allocated device-hours."""
    money: float | None
    """Price of the device-hours, in the currency of the config."""
    basis: str | None
    """`measured` for the measured pace, `modelled` for the config's hardware; null if the device-hours are unknown."""


@dataclass(frozen=True)
class Speeds:
    """Pace of all attempts at all paths."""

    by_processes: Mapping[int, Pace]
    """Pace by number of processes."""

    def wall_seconds_per_step(self, processes: int) -> float | None:
        """Return the seconds of a step with that many processes; None if none was measured with as many."""
        seconds = self.by_processes.get(processes, Pace()).seconds_per_step
        return None if seconds is None else seconds / processes

    @property
    def device_seconds_per_step(self) -> float | None:
        """Device-seconds of a step, with any number of processes."""
        return pooled(self.by_processes.values()).seconds_per_step


@dataclass(frozen=True)
class MeasuredSpeed:
    """Speed of the optimizer steps of a run so far, with saves, evaluations and waiting, without start-up."""

    device: str
    """Name of the device of the newest attempt."""
    processes: int
    """Number of processes of the newest attempt."""
    device_seconds_per_step: float
    """Device-seconds of a step, over all attempts at all paths."""

    @property
    def seconds_per_step(self) -> float:
        """Seconds of a step with all processes at work together."""
        return self.device_seconds_per_step / self.processes

    def hours(self, steps: int) -> float:
        """Return the device-hours of some steps."""
        return steps * self.device_seconds_per_step / 3600


def measured_speed(statuses: Sequence[PathStatus]) -> MeasuredSpeed | None:
    """Return the speed that these paths were trained with; None before the first step."""
    seconds, newest = measured_speeds(statuses).device_seconds_per_step, _newest(statuses)
    if seconds is None or newest is None:
        return None
    return MeasuredSpeed(newest.totals.device, newest.paces[-1].processes, seconds)


def measured_speeds(statuses: Sequence[PathStatus]) -> Speeds:
    """Return the pace of all attempts at these paths."""
    attempts = [attempt for status in statuses for attempt in status.paces]
    counts = {attempt.processes for attempt in attempts}
    return Speeds({n: pooled(a.pace for a in attempts if a.processes == n) for n in counts})


def steps_to_do(status: PathStatus) -> int:
    """Return the steps that a path still has to train: from its newest checkpoint, unless it is running."""
    return max(0, status.path.stop - (status.live_step if status.state == "running" else status.step))


def eta_seconds(status: PathStatus, speeds: Speeds) -> float | None:
    """Return the seconds to the last step of a running path, at its own pace or else that of as many processes."""
    if status.state != "running" or not status.paces:
        return None
    newest = status.paces[-1]
    own = newest.pace.seconds_per_step
    seconds = speeds.wall_seconds_per_step(newest.processes) if own is None else own / newest.processes
    return None if seconds is None else steps_to_do(status) * seconds


def eta_seconds_of_all(statuses: Sequence[PathStatus], speeds: Speeds) -> float | None:
    """Return the seconds to the last step of the graph, with as many process groups as now, or one if none runs."""
    running = [status for status in statuses if status.state == "running"]
    waiting = sum(steps_to_do(status) for status in statuses if status.state != "running")
    etas = [eta_seconds(status, speeds) for status in running]
    known = [eta for eta in etas if eta is not None]
    rest = _wall_seconds(waiting, _processes(running or statuses), speeds)
    if len(known) < len(etas) or rest is None:
        return None
    return max([*known, (sum(known) + rest) / max(1, len(running))])


def _wall_seconds(steps: int, processes: int | None, speeds: Speeds) -> float | None:
    if not steps:
        return 0.0
    seconds = None if processes is None else speeds.wall_seconds_per_step(processes)
    return None if seconds is None else steps * seconds


def _processes(statuses: Sequence[PathStatus]) -> int | None:
    """Return the number of processes that trained last; the rest is likely to be trained by as many."""
    newest = _newest(statuses)
    return None if newest is None else newest.paces[-1].processes


def _newest(statuses: Sequence[PathStatus]) -> PathStatus | None:
    """Return the path that was written to last; None before the first attempt."""
    begun = [status for status in statuses if status.paces]
    return max(begun, key=lambda status: status.totals.updated or "", default=None)


def remaining_cost(plan: Plan, steps: int, speeds: Speeds) -> RemainingCost:
    """Return the cost of some steps at the measured pace, or else by the hardware and the MFU of the config."""
    modelled, seconds, price = plan.costs.of(steps), speeds.device_seconds_per_step, plan.costs.price_per_device_hour
    hours, basis = modelled.device_hours, None if modelled.device_hours is None else "modelled"
    if seconds is not None:
        hours, basis = steps * seconds / 3600, "measured"
    return RemainingCost(
        steps=steps,
        tokens=modelled.tokens,
        device_hours=hours,
        money=None if hours is None or price is None else hours * price,
        basis=basis,
    )
