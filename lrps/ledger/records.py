"""The ledger's records: what one line says, and how a line is written and read.

Format `lrps-ledger/2`: JSON lines, one record a line, `{"sha256": .., "kind": .., "step": .., "time": .., "counters":
{..}, "facts": {..}}` without blanks. `sha256` is over that of the line before and the rest of the line, so that a line
that was changed, removed or inserted later is found, the last one too; the first record of an attempt goes on from the
last line of the attempt before. Counters are cumulative within the attempt: any record alone says what was spent by
then.

kinds and their facts beside others: start (format, path, path_start, parent, origin, device, processes, price),
heartbeat (loss), checkpoint (saved_step, bytes), branch-point (saved_step), evaluation (heldout, loss, ..), stop
(outcome), failure (error); of the run's own ledger: start (format, job, device, processes), export (path, ..),
rehearsal (set, tokens, device_seconds, ..), score (path, task, results, ..), stop.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from lrps.base.errors import LedgerError

FORMAT = "lrps-ledger/2"
KINDS = (
    *("start", "heartbeat", "checkpoint", "branch-point", "evaluation", "stop", "failure"),
    *("export", "rehearsal", "score"),
)
NO_LINE = "0" * 64
_HEAD, _HASH, _TAIL = slice(11), slice(11, 75), slice(75, 77)
"""A line is `{"sha256":"`, its hash, `",`, and the rest."""
_REST = slice(77, None)
"""What the hash is over, with the hash of the line before."""


@dataclass(slots=True)
class Counters:
    """What an attempt spent so far. Seconds are device-seconds: wall-clock times the number of processes."""

    steps: int = 0
    """Optimizer steps executed, repeated ones included."""
    repeated_steps: int = 0
    """Of these, steps that an earlier attempt had trained and lost."""
    tokens: int = 0
    """Tokens trained on: steps x rows x row length. Rows are packed without padding, so every token of a row counts,
    the end marks of documents included, whether attention crosses documents or not. (One fewer of a row is predicted,
    as its first token has nothing before it: the tokens of an evaluation are rows x (row length - 1).)"""
    repeated_tokens: int = 0
    """Those of the repeated steps. The other tokens are replayed, rehearsed, or unique (paths/usage.py)."""
    replayed_tokens: int = 0
    rehearsal_tokens: int = 0
    flops: int = 0
    """Model FLOPs of these tokens (paths/cost.py); 0 when the model's formula is not known. An upper bound where
    attention stays within documents."""
    allocated_seconds: float = 0.0
    """Held, whatever was done with it."""
    starting_seconds: float = 0.0
    """Before the first step: starting the process group (on its first path), model, state."""
    training_seconds: float = 0.0
    """In optimizer steps that no attempt had trained before: the productive part."""
    repeating_seconds: float = 0.0
    """In repeated steps."""
    saving_seconds: float = 0.0
    evaluating_seconds: float = 0.0
    energy_joules: float | None = None
    """Of the devices, by their own counters (NVML); None where they have none. Read whenever all processes meet."""

    @property
    def unique_tokens(self) -> int:
        """Rows that the lineage had never trained on."""
        return self.tokens - self.repeated_tokens - self.replayed_tokens - self.rehearsal_tokens

    @property
    def other_seconds(self) -> float:
        """Held, and none of what is counted: reading data, pruning, waiting for other processes, logging."""
        return max(0.0, self.allocated_seconds - self.busy_seconds)

    @property
    def busy_seconds(self) -> float:
        """What is counted of the time held."""
        steps = self.training_seconds + self.repeating_seconds
        return self.starting_seconds + steps + self.saving_seconds + self.evaluating_seconds


_COUNTERS = tuple(field.name for field in fields(Counters))


class Record(NamedTuple):
    """One line. `step` counts along the path's lineage; `facts` depend on the kind."""

    kind: str
    step: int
    time: str
    counters: Counters
    facts: dict[str, Any]
    sha256: str
    """Of this line and, through it, of all lines before."""

    @property
    def saved_step(self) -> int:
        """Of a checkpoint's record: the step of the saved state. `step` is where training stood when it was published,
        which may be further: an asynchronous save takes some steps."""
        return int(self.facts.get("saved_step", self.step))


def render(kind: str, step: int, time: str, counters: Counters, facts: dict[str, Any], previous: str) -> bytes:
    """The line of a record that follows the line with the hash `previous`. ValueError for a number that JSON lacks."""
    values = {"kind": kind, "step": step, "time": time, "counters": asdict(counters), "facts": facts}
    rest = (json.dumps(values, separators=(",", ":"), allow_nan=False)[1:] + "\n").encode()
    return b'{"sha256":"%b",%b' % (_chained(previous.encode(), rest).encode(), rest)


def is_heartbeat(line: bytes) -> bool:
    return line.startswith(b'"kind":"heartbeat"', 77)


def check_line(line: bytes, previous: str | None) -> str:
    """The hash of a whole line that follows the line with the hash `previous`; None does not check that.

    Raises LedgerError, without saying where, for a line that is not the one that was written.
    """
    stated = line[_HASH]
    if line[_HEAD] != b'{"sha256":"' or line[_TAIL] != b'",':
        raise LedgerError(f"not a record of a ledger of format {FORMAT}; restore the file from a copy")
    if previous is not None and _chained(previous.encode(), line[_REST]).encode() != stated:
        raise LedgerError(
            "this line, or one before it, was changed, removed or inserted after it was written; restore the file from "
            "a copy"
        )
    return stated.decode(errors="replace")


def parse(line: bytes, previous: str | None) -> Record:
    """The record of such a line. Raises LedgerError as `check_line` does."""
    stated = check_line(line, previous)
    try:
        _, kind, step, time, counters, facts = from_json(line).values()
        if tuple(counters) != _COUNTERS or kind not in KINDS:
            raise LedgerError("a record of another version of lrps; read it with the lrps that wrote it")
        return Record(kind, step, time, Counters(*counters.values()), facts, stated)
    except (ValueError, TypeError, AttributeError) as error:
        raise LedgerError(f"not a record of the ledger ({error}); restore the file from a copy") from None


def _chained(previous: bytes, rest: bytes) -> str:
    return hashlib.sha256(previous + rest).hexdigest()


def line_hash(line: bytes) -> str:
    """The hash that a whole line carries."""
    return line[_HASH].decode(errors="replace")


def attempt_files(ledger_dir: Path) -> list[Path]:
    """The files of a path's attempts, oldest first. Raises LedgerError for a file that is no attempt's."""
    files = list(ledger_dir.glob("*.jsonl"))
    for file in files:
        if not (file.stem.isascii() and file.stem.isdecimal()):
            raise LedgerError(f"{file}: is no attempt's file, which has a number for a name; move it elsewhere")
    return sorted(files, key=lambda file: int(file.stem))
