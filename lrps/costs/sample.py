"""Samples: measured device time and energy of a path on one kind of device with one number of processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lrps.ledger.records import Counters, Record
from lrps.plan.plan import Plan


@dataclass(frozen=True)
class Sample:
    """Sums over the attempts at one path on one kind of device with one number of processes."""

    run: str
    """Name of the run."""
    path: str
    """Name of the path."""
    device: str
    """Name of the device, as the ledger recorded it."""
    processes: int
    """Number of processes."""
    steps: int
    """Number of useful optimizer steps, each counted once."""
    tokens: int
    """Number of tokens of the useful steps."""
    flops: int | None
    """Model FLOPs of these tokens; None if the FLOPs per token of the model are unknown."""
    device_seconds: float
    """Allocated device-seconds, whatever they were used for."""
    training_seconds: float
    """Device-seconds in optimizer steps, repeated ones included."""
    joules: float | None
    """Energy in joules; None unless the devices of every attempt metered it."""
    updated: str
    """Time of the last record, in ISO 8601."""

    @property
    def setup(self) -> tuple[str, int]:
        """Kind of device and number of processes."""
        return self.device, self.processes


def samples_of(plan: Plan, ledgers: Mapping[str, Sequence[Record]]) -> tuple[Sample, ...]:
    """Return one sample per path, kind of device and number of processes.

    ledgers: records by path, oldest first. Attempts from before a path became another one are left out.
    """
    found = []
    for name, records in ledgers.items():
        attempts: dict[tuple[str, int], list[Record]] = {}
        for start, last in _attempts(records):
            if start.facts["path_start"] == plan.graph.by_name[name].start:
                attempts.setdefault((start.facts["device"], start.facts["processes"]), []).append(last)
        found += [_sample(plan, name, setup, lasts) for setup, lasts in attempts.items()]
    return tuple(found)


def _attempts(records: Sequence[Record]) -> Iterable[tuple[Record, Record]]:
    """Return the first and the last record of every attempt."""
    starts = [index for index, record in enumerate(records) if record.kind == "start"]
    return ((records[start], records[end - 1]) for start, end in pairwise([*starts, len(records)]))


def _sample(plan: Plan, path: str, setup: tuple[str, int], lasts: Sequence[Record]) -> Sample:
    spent: list[Counters] = [record.counters for record in lasts]
    tokens = sum(each.tokens - each.repeated_tokens for each in spent)
    per_token = plan.costs.flops_per_token
    joules = [each.energy_joules for each in spent]
    return Sample(
        plan.config.name,
        path,
        *setup,
        steps=sum(each.steps - each.repeated_steps for each in spent),
        tokens=tokens,
        flops=None if per_token is None else tokens * per_token,
        device_seconds=sum(each.allocated_seconds for each in spent),
        training_seconds=sum(each.training_seconds + each.repeating_seconds for each in spent),
        joules=None if None in joules else sum(each for each in joules if each is not None),
        updated=lasts[-1].time,
    )
