"""The run's own ledger: what is done to a run beside training, one file an event, in the same chain of lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrps.base.locks import path_lock
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter


def book_event(
    ledger_dir: Path,
    kind: str,
    step: int,
    seconds: float,
    *,
    device: str = "cpu",
    price: Mapping[str, Any] | None = None,
    **facts: Any,
) -> None:
    """Append an event that has ended. seconds: of one process on the device; they are no device-seconds of any path.

    price: of a device-hour, as attempts of paths record it. Events may end at the same time in several processes: each
    waits for the lock. Raises LedgerError.
    """
    begun = {"format": FORMAT, "job": kind, "path_start": step, "device": device, "processes": 1}
    if price is not None:
        begun["price_per_device_hour"] = dict(price)
    with path_lock(ledger_dir, "written"):
        writer = LedgerWriter(ledger_dir)
        writer.append("start", step, Counters(), **begun)
        spent = Counters(allocated_seconds=seconds)
        writer.append(kind, step, spent, **facts)
        writer.append("stop", step, spent, outcome="complete")
        writer.sync()
        writer.close()
