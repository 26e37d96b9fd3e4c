"""The ledger's records and the one writer of an attempt's file.

Format `lrps-ledger/1`: JSON lines, one record a line, written in one piece. Every record carries the SHA-256 of the
line before it (`previous`), so that a line that was changed, removed or inserted later is found; the first record
of an attempt carries that of the last line of the attempt before. Counters are cumulative within the attempt: any
record alone says what was spent so far.

kinds: start, heartbeat, checkpoint, branch-point, evaluation, stop, failure.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from lrps.errors import LedgerError

FORMAT = "lrps-ledger/1"
KINDS = ("start", "heartbeat", "checkpoint", "branch-point", "evaluation", "stop", "failure")
NO_LINE = "0" * 64


@dataclass
class Counters:
    """What an attempt spent so far. Seconds are device-seconds: wall-clock times the number of processes."""

    steps: int = 0
    """Optimizer steps executed, repeated ones included."""
    tokens: int = 0
    """Tokens trained on: steps x rows x row length. Rows are packed without padding, so every token of a row counts,
    the end marks of documents included, whether attention crosses documents or not. (One fewer of a row is predicted,
    as its first token has nothing before it: the tokens of an evaluation are rows x (row length - 1).)"""
    flops: int = 0
    """Model FLOPs of these tokens (paths/cost.py); 0 when the model's formula is not known. An upper bound where
    attention stays within documents."""
    allocated_seconds: float = 0.0
    """Held, whatever was done with it."""
    starting_seconds: float = 0.0
    """Before the first step: starting the process group (on its first path), model, state."""
    training_seconds: float = 0.0
    """In optimizer steps: the productive part."""
    saving_seconds: float = 0.0
    evaluating_seconds: float = 0.0


@dataclass(frozen=True)
class Record:
    """One line. `step` counts along the path's lineage; `facts` depend on the kind."""

    kind: str
    time: str
    step: int
    counters: Counters
    facts: dict[str, Any]
    previous: str

    @property
    def saved_step(self) -> int:
        """Of a checkpoint's record: the step of the saved state. `step` is where training stood when it was published,
        which may be further: an asynchronous save takes some steps."""
        return int(self.facts.get("saved_step", self.step))

    def line(self) -> bytes:
        """The record as the file holds it; equal records are equal bytes."""
        return (json.dumps(asdict(self), separators=(",", ":"), sort_keys=True, allow_nan=False) + "\n").encode()


def line_hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def attempt_files(ledger_dir: Path) -> list[Path]:
    """The files of a path's attempts, oldest first."""
    return sorted(ledger_dir.glob("[0-9]*.jsonl"), key=lambda file: int(file.stem))


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
        record = Record(kind, now, step, Counters(**asdict(counters)), facts, self._previous)
        line = record.line()
        try:
            if self._file.write(line) != len(line):
                raise OSError("the disk is full")
        except OSError as error:
            raise LedgerError(f"{self.path}: cannot write the ledger: {error}; free space, then rerun") from None
        self._previous = line_hash(line)
        return record

    def sync(self) -> None:
        """Make everything written so far survive a crash of the machine."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
