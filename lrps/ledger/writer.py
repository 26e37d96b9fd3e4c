"""The one writer of an attempt's ledger file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from lrps.base.errors import LedgerError
from lrps.ledger.records import KINDS, NO_LINE, Counters, Record, attempt_files, line_hash, render

_MILLISECONDS = 3


def last_line_hash(files: Sequence[Path]) -> str:
    """Hash of the last whole line of these attempts, oldest first; a torn line and an empty file do not count."""
    for file in reversed(files):
        whole = [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        if whole:
            return line_hash(whole[-1])
    return NO_LINE


class LedgerWriter:
    """Appends to the file of a new attempt. One process (rank 0) writes, one write call a record.

    Raises LedgerError if the file cannot be written: training that is not accounted for must not go on.
    """

    def __init__(self, ledger_dir: Path) -> None:
        earlier = attempt_files(ledger_dir)
        self.attempt = int(earlier[-1].stem) + 1 if earlier else 0
        self.path = ledger_dir / f"{self.attempt:03d}.jsonl"
        self._previous = last_line_hash(earlier)
        try:
            ledger_dir.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = open(self.path, "xb", buffering=0)  # noqa: SIM115 - held for the attempt
        except OSError as error:
            raise LedgerError(f"{self.path}: cannot write the ledger: {error}; make the directory writable") from None

    def append(self, kind: str, step: int, counters: Counters, **facts: Any) -> Record:
        """Write one record. Facts are JSON values; a non-finite number must be given as a string."""
        if kind not in KINDS:
            raise ValueError(f"unknown kind of record: {kind}")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        rounded = _rounded(counters)
        line = render(kind, step, now, rounded, facts, self._previous)
        try:
            if self._file.write(line) != len(line):
                raise OSError("the disk is full")
        except OSError as error:
            raise LedgerError(f"{self.path}: cannot write the ledger: {error}; free space, then rerun") from None
        self._previous = line_hash(line)
        return Record(kind, step, now, rounded, facts, self._previous)

    def sync(self) -> None:
        """Make everything written so far survive a crash of the machine."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _rounded(counters: Counters) -> Counters:
    """A copy, to the millisecond: the clocks are not better, and a ledger has many lines."""
    seconds = {name: round(getattr(counters, name), _MILLISECONDS) for name in _SECONDS}
    return replace(counters, **seconds)


_SECONDS = tuple(name for name in Counters.__annotations__ if name.endswith("_seconds"))
