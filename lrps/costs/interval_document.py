"""How often a plan should save, for the failure rate that its config states: `lrps plan`'s advice, as JSON and as text.

What a save, a restart and a step take comes from the plan's own ledgers where they have measured it on as many devices,
else from the config; each figure says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lrps.base.numbers import amount, count
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Record
from lrps.paths.interval import advise, waste_share
from lrps.plan.plan import Plan
from lrps.plan.status import is_foreign

STALL_OF_A_SAVE_IN_FLIGHT = 0.1
"""What steps stand still for it, of the time that it takes (tools/bench_checkpoint.py: 0.03 .. 0.07; rounded up)."""
_GIGA = 1e9


@dataclass(frozen=True)
class SourcedSeconds:
    """Seconds, and whether they were measured or modelled."""

    seconds: float
    basis: str


@dataclass
class Measured:
    """Sums over the attempts on so many devices, in seconds of the wall clock."""

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
    """What the attempts on so many devices took. ledgers: the records of each path, oldest first."""
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


def interval_document(plan: Plan) -> dict[str, Any] | None:
    """The advice; null without hardware.mtbf_hours_per_device. `missing` names the keys without which there is none."""
    hardware = plan.config.hardware
    if hardware is None or hardware.mtbf_hours_per_device is None:
        return None
    mtbf = hardware.mtbf_hours_per_device / hardware.devices * 3600
    own = [plan.layout.path(path.name) for path in plan.graph.paths if not is_foreign(plan, path)]
    found = measured((read_ledger(layout.ledger, heartbeats=False) for layout in own), hardware.devices)
    stall, step, restart = _stall(plan, found), _step(plan, found), _restart(plan, found)
    facts = {"devices": hardware.devices, "mtbf_hours": mtbf / 3600}
    if stall is None or step is None:
        missing = [] if stall else ["hardware.save_gb_per_second"]
        missing += [] if step else ["hardware.peak_tflops"]
        return {**facts, "missing": missing}
    write = _write_seconds(plan)
    advice = advise(stall.seconds, restart.seconds, mtbf, step.seconds)
    # Where the disk is slower than that, a save would wait for the one before.
    bound = None if write is None or write <= advice.seconds else write
    steps = advice.steps if bound is None else max(advice.steps, -int(-bound // step.seconds))
    return {
        **facts,
        **{f"{name}_seconds": each.seconds for name, each in (("stall", stall), ("step", step), ("restart", restart))},
        **{f"{name}_basis": each.basis for name, each in (("stall", stall), ("step", step), ("restart", restart))},
        "young_minutes": advice.young_seconds / 60,
        "every_minutes": max(advice.seconds, bound or 0.0) / 60,
        "every_steps": steps,
        "bounded_by_write": bound is not None,
        "waste_share": waste_share(steps * step.seconds, stall.seconds, restart.seconds, mtbf),
        "configured": _configured(plan, stall.seconds, restart.seconds, mtbf, step.seconds),
    }


def _write_seconds(plan: Plan) -> float | None:
    """What writing a checkpoint takes, as the config says."""
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
    """Without measured starts, reading a checkpoint as fast as it is written: starting the processes comes on top."""
    if found.longest_start:
        return SourcedSeconds(found.longest_start, "measured")
    return SourcedSeconds(_write_seconds(plan) or 0.0, "modelled")


def _configured(plan: Plan, stall: float, restart: float, mtbf: float, step: float) -> dict[str, Any] | None:
    """What the config's own interval is expected to waste; null where it saves at branch points only."""
    settings = plan.config.checkpoint
    each = [settings.every_steps * step] if settings.every_steps else []
    each += [settings.every_minutes * 60] if settings.every_minutes else []
    if not each:
        return None
    waste = waste_share(min(each), stall, restart, mtbf)
    return {"every_minutes": min(each) / 60, "waste_share": waste}


def interval_lines(document: Mapping[str, Any] | None) -> list[str]:
    """The advice as lines of text."""
    if document is None:
        return []
    failing = f"A run on {count(document['devices'])} devices fails every {amount(document['mtbf_hours'])} hours"
    if missing := document.get("missing"):
        return [f"{failing}; to say how often to save, give {' and '.join(missing)}."]
    bound = ", which is what writing takes" if document["bounded_by_write"] else ""
    lines = [
        f"{failing}. Save every {amount(document['every_minutes'])} minutes{bound}: "
        f"checkpoint.every_steps {document['every_steps']} (Daly; Young says {amount(document['young_minutes'])}). "
        f"Expected waste {document['waste_share']:.2%}.",
        "From a stall of {} s a save ({}), steps of {} s ({}), restarts of {} s ({}).".format(
            *(
                amount(document[f"{name}_{key}"]) if key == "seconds" else document[f"{name}_{key}"]
                for name in ("stall", "step", "restart")
                for key in ("seconds", "basis")
            )
        ),
    ]
    if configured := document["configured"]:
        lines.append(
            f"The config saves every {amount(configured['every_minutes'])} minutes: "
            f"expected waste {configured['waste_share']:.2%}."
        )
    else:
        lines.append("The config saves at branch points and at the end of a path only: set checkpoint.every_steps.")
    return lines
