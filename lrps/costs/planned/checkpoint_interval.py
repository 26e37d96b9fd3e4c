"""How often a plan should save for the failure rate that its config states: the advice of `lrps plan`.

The seconds of a save, a restart and a step come from the plan's own ledgers where they have measured them on as many
devices, else from the config; each figure says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Record
from lrps.paths.interval import advise, waste_share
from lrps.plan.plan import Plan
from lrps.plan.status import is_foreign

STALL_OF_A_SAVE_IN_FLIGHT = 0.1
"""Share of an asynchronous save's time for which steps wait (tools/bench_checkpoint.py: 0.03 .. 0.07; rounded up)."""
_GIGA = 1e9


@dataclass(frozen=True)
class UnknownInterval:
    """A failure rate without what else the advice needs."""

    devices: int
    """Devices of the config."""
    mtbf_hours: float
    """Mean hours between two failures of any of these devices."""
    missing: tuple[str, ...]
    """Config keys that have to be given."""


@dataclass(frozen=True)
class ConfiguredInterval:
    """How often the config saves, and what that is expected to waste."""

    every_minutes: float
    """Minutes between two saves."""
    waste_share: float
    """Expected share of the wall time that is not a new step."""


@dataclass(frozen=True)
class CheckpointInterval:
    """How often to save, by Daly's estimate, and what it rests on. A basis is measured or modelled."""

    devices: int
    """Devices of the config."""
    mtbf_hours: float
    """Mean hours between two failures of any of these devices."""
    stall_seconds: float
    """Seconds for which steps wait at a save."""
    step_seconds: float
    """Seconds of a step."""
    restart_seconds: float
    """Seconds from a failure to the next step."""
    stall_basis: str
    """Basis of stall_seconds."""
    step_basis: str
    """Basis of step_seconds."""
    restart_basis: str
    """Basis of restart_seconds."""
    young_minutes: float
    """Minutes between two saves by Young's first-order estimate."""
    every_minutes: float
    """Minutes between two saves: the advice."""
    every_steps: int
    """The same in whole steps, for checkpoint.every_steps."""
    bounded_by_write: bool
    """True if a checkpoint takes longer to write than Daly's interval, so that writing sets the interval."""
    waste_share: float
    """Expected share of the wall time that is not a new step."""
    configured: ConfiguredInterval | None
    """The interval of the config; null if it saves at branch points only."""


@dataclass(frozen=True)
class SourcedSeconds:
    """Seconds, and whether they were measured or modelled."""

    seconds: float
    basis: str


@dataclass
class Measured:
    """Sums over the attempts on a number of devices, in seconds of the wall clock."""

    saves: int = 0
    saving: float = 0.0
    steps: int = 0
    stepping: float = 0.0
    longest_start: float = 0.0
    """A group that trains several paths starts once: the longest start is a whole one."""

    def add(self, last: Record, processes: int) -> None:
        spent = last.counters
        self.saving += spent.saving_seconds / processes
        self.steps += spent.steps
        self.stepping += (spent.training_seconds + spent.repeating_seconds) / processes
        self.longest_start = max(self.longest_start, spent.starting_seconds / processes)


def measured(ledgers: Iterable[Iterable[Record]], devices: int) -> Measured:
    """Return what the attempts on that many devices took. ledgers: the records of each path, oldest first."""
    found = Measured()
    for records in ledgers:
        for attempt in _attempts(records):
            if attempt[0].facts["processes"] == devices:
                found.saves += sum(record.kind == "checkpoint" for record in attempt)
                found.add(attempt[-1], devices)
    return found


def _attempts(records: Iterable[Record]) -> Iterator[list[Record]]:
    attempt: list[Record] = []
    for record in records:
        if record.kind == "start" and attempt:
            yield attempt
            attempt = []
        if attempt or record.kind == "start":
            attempt.append(record)
    if attempt:
        yield attempt


def checkpoint_interval(plan: Plan) -> CheckpointInterval | UnknownInterval | None:
    """Return the advice, or what it lacks; None without hardware.mtbf_hours_per_device."""
    hardware = plan.config.hardware
    if hardware is None or hardware.mtbf_hours_per_device is None:
        return None
    mtbf = hardware.mtbf_hours_per_device / hardware.devices * 3600
    own = [plan.layout.path(path.name) for path in plan.graph.paths if not is_foreign(plan, path)]
    found = measured((read_ledger(layout.ledger, heartbeats=False) for layout in own), hardware.devices)
    stall, step = _stall(plan, found), _step(plan, found)
    if stall is None or step is None:
        needed = {"hardware.save_gb_per_second": stall, "hardware.peak_tflops": step}
        missing = tuple(name for name, seconds in needed.items() if seconds is None)
        return UnknownInterval(hardware.devices, mtbf / 3600, missing)
    return _interval(plan, hardware.devices, mtbf, stall, step, _restart(plan, found))


def _interval(
    plan: Plan, devices: int, mtbf: float, stall: SourcedSeconds, step: SourcedSeconds, restart: SourcedSeconds
) -> CheckpointInterval:
    """Return the advice for a mean of `mtbf` seconds between two failures."""
    write = _write_seconds(plan)
    advice = advise(stall.seconds, restart.seconds, mtbf, step.seconds)
    # Where the disk is slower than that, a save would wait for the one before.
    bound = None if write is None or write <= advice.seconds else write
    steps = advice.steps if bound is None else max(advice.steps, -int(-bound // step.seconds))
    return CheckpointInterval(
        devices=devices,
        mtbf_hours=mtbf / 3600,
        stall_seconds=stall.seconds,
        step_seconds=step.seconds,
        restart_seconds=restart.seconds,
        stall_basis=stall.basis,
        step_basis=step.basis,
        restart_basis=restart.basis,
        young_minutes=advice.young_seconds / 60,
        every_minutes=max(advice.seconds, bound or 0.0) / 60,
        every_steps=steps,
        bounded_by_write=bound is not None,
        waste_share=waste_share(steps * step.seconds, stall.seconds, restart.seconds, mtbf),
        configured=_configured(plan, stall.seconds, restart.seconds, mtbf, step.seconds),
    )


def _write_seconds(plan: Plan) -> float | None:
    """Return the seconds that writing a checkpoint takes, by the config; None if it does not say."""
    speed = plan.config.hardware.save_gb_per_second if plan.config.hardware else None
    size = plan.costs.checkpoint_bytes
    return None if speed is None or size is None else size / (speed * _GIGA)


def _stall(plan: Plan, found: Measured) -> SourcedSeconds | None:
    if found.saves and found.saving:
        return SourcedSeconds(found.saving / found.saves, "measured")
    write = _write_seconds(plan)
    share = STALL_OF_A_SAVE_IN_FLIGHT if plan.config.checkpoint.asynchronous else 1.0
    return None if write is None else SourcedSeconds(write * share, "modelled")


def _step(plan: Plan, found: Measured) -> SourcedSeconds | None:
    if found.steps and found.stepping:
        return SourcedSeconds(found.stepping / found.steps, "measured")
    hours, hardware = plan.costs.of(1).device_hours, plan.config.hardware
    return None if hours is None or hardware is None else SourcedSeconds(hours * 3600 / hardware.devices, "modelled")


def _restart(plan: Plan, found: Measured) -> SourcedSeconds:
    """Return the seconds of the longest start, else of reading a checkpoint at the speed of writing.

    The latter leaves out the start of the processes.
    """
    if found.longest_start:
        return SourcedSeconds(found.longest_start, "measured")
    return SourcedSeconds(_write_seconds(plan) or 0.0, "modelled")


def _configured(plan: Plan, stall: float, restart: float, mtbf: float, step: float) -> ConfiguredInterval | None:
    settings = plan.config.checkpoint
    each = [settings.every_steps * step] if settings.every_steps else []
    each += [settings.every_minutes * 60] if settings.every_minutes else []
    if not each:
        return None
    return ConfiguredInterval(min(each) / 60, waste_share(min(each), stall, restart, mtbf))
