"""Reads ledgers strictly: a torn last line (the writer died) is tolerated, nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.base.errors import LedgerError
from lrps.ledger.records import FORMAT, NO_LINE, Record, attempt_files, check_line, is_heartbeat, parse


def read_attempt(file: Path, previous: str | None = None, *, heartbeats: bool = True) -> Iterator[Record]:
    """The records of one attempt, in order, in constant memory.

    previous: the hash that the first record goes on from; None does not check that one. heartbeats False leaves out
    every heartbeat that another one follows, four times as fast: counters are cumulative, so the rest adds up to the
    same totals. Every line is checked all the same.
    Raises LedgerError with file and line for a line that is not the one that was written.
    """
    skipped: bytes | None = None
    number = 0
    try:
        with open(file, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break  # torn: the writer died in this write
                if not heartbeats and is_heartbeat(line) and number > 1:
                    previous, skipped = check_line(line, previous), line
                    continue
                if skipped is not None:
                    yield parse(skipped, None)
                    skipped = None
                record = parse(line, previous)
                _check_start(record, number, file)
                previous = record.sha256
                yield record
            if skipped is not None:
                yield parse(skipped, None)
    except LedgerError as error:
        raise LedgerError(f"{file}:{number}: {error}") from None


def _check_start(record: Record, number: int, file: Path) -> None:
    """A file has one start, its first line, and lies in the directory of the path that it says."""
    if number == 1 and (record.kind != "start" or record.facts.get("format") != FORMAT):
        raise LedgerError(f"not the start of a ledger of format {FORMAT}")
    if record.kind != "start":
        return
    if number > 1:
        raise LedgerError("a second start in one file: attempts were put together; restore the files from a copy")
    path, here = record.facts.get("path"), file.absolute().parent.parent.name
    if path not in (None, here):
        raise LedgerError(f"this is the ledger of path {path}, not of {here}; put it back where it was written")


def read_ledger(ledger_dir: Path, *, heartbeats: bool = True) -> Iterator[Record]:
    """The records of all attempts of a path, oldest first, with the hash chain checked across attempts."""
    previous = NO_LINE
    for file in attempt_files(ledger_dir):
        for record in read_attempt(file, previous, heartbeats=heartbeats):
            previous = record.sha256
            yield record


def until(records: Iterable[Record], stop: int) -> Iterator[Record]:
    """What of a ledger led to step `stop`: of every attempt the records up to it, of later attempts nothing.

    For a main path that has grown, or that goes further in another paradigm.
    """
    inside = False
    for record in records:
        if record.kind == "start":
            inside = record.step < stop or record.facts["path_start"] == stop
        inside = inside and record.step <= stop
        if inside:
            yield record


@dataclass(frozen=True)
class HeldoutEvaluation:
    """Loss of a released state on one held-out set."""

    step: int
    heldout: str
    manifest_sha256: str
    loss: float
    """Nats per predicted token."""
    bits_per_byte: float
    rows: int
    tokens: int
    """Predicted tokens of these rows."""


def evaluations(records: Iterable[Record]) -> dict[tuple[int, str], HeldoutEvaluation]:
    """(step, held-out version) -> the newest evaluation of it."""
    found = {}
    for record in records:
        if record.kind == "evaluation":
            facts: dict[str, Any] = {
                key: record.facts[key] for key in HeldoutEvaluation.__annotations__ if key != "step"
            }
            found[record.step, facts["heldout"]] = HeldoutEvaluation(step=record.step, **facts)
    return found
