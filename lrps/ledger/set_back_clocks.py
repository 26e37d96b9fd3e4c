"""Correction of times in ledgers that decrease, since earlier versions took them from a clock that was set back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lrps.ledger.records import Counters, Record

_CLOCKS_APART_SECONDS = 1.0
"""Difference of the two clocks that is no sign of one that was set back."""


def without_decreases(records: Iterable[Record], apart: float = _CLOCKS_APART_SECONDS) -> Iterator[Record]:
    """Yield the records of attempts with times that never decrease within an attempt and are never negative.

    Where the clock was set back between two records, the allocated time between them is the time of the steps, saves
    and evaluations between them, which another clock has measured. Other records are yielded as they are. If heartbeats
    are left out, it may have been set back without a decrease: it was if their time is less than that of the steps by
    more than `apart` seconds.
    """
    before, missing = Counters(), 0.0
    for record in records:
        now = record.counters
        if record.kind == "start":
            before, missing = Counters(), 0.0
        passed, worked = now.allocated_seconds - before.allocated_seconds, _worked(now) - _worked(before)
        if passed < 0 or passed < worked - apart:
            missing += worked - passed
        before = now
        if missing or now.starting_seconds < 0:
            starting = max(0.0, now.starting_seconds)
            now = replace(now, starting_seconds=starting, allocated_seconds=now.allocated_seconds + missing)
            record = record._replace(counters=now)
        yield record


def _worked(counters: Counters) -> float:
    return counters.busy_seconds - counters.starting_seconds
