"""How fast attempts trained, with everything that goes with a step: what a forecast of the rest goes by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add

from lrps.ledger.records import Record


@dataclass(frozen=True)
class Pace:
    """Optimizer steps, and what they took with saving, evaluating and waiting; starting up is left out."""

    steps: int = 0
    device_seconds: float = 0.0

    def __add__(self, other: Pace) -> Pace:
        return Pace(self.steps + other.steps, self.device_seconds + other.device_seconds)

    @property
    def seconds_per_step(self) -> float | None:
        """Device-seconds a step; None while no step was taken."""
        return self.device_seconds / self.steps if self.steps else None


@dataclass(frozen=True)
class AttemptPace:
    """The pace of one attempt, on so many processes."""

    processes: int
    pace: Pace


def attempt_paces(records: Iterable[Record]) -> tuple[AttemptPace, ...]:
    """One an attempt of a path's ledger, oldest first, as of its last record."""
    found: list[AttemptPace] = []
    for record in records:
        if record.kind == "start":
            found.append(AttemptPace(record.facts["processes"], Pace()))
        counters = record.counters
        pace = Pace(counters.steps, max(0.0, counters.allocated_seconds - counters.starting_seconds))
        if found:  # a ledger that lost its beginning has no attempt to book this on
            found[-1] = AttemptPace(found[-1].processes, pace if counters.steps else Pace())
    return tuple(found)


def pooled(paces: Iterable[Pace]) -> Pace:
    """All of them as one."""
    return reduce(add, paces, Pace())
