"""The records of a ledger: their fields, and how a line is written and parsed.

Format `lrps-ledger/2`: JSON lines, one record a line, `{"sha256": .., "kind": .., "step": .., "time": .., "counters":
{..}, "facts": {..}}` without blanks. `sha256` is over that of the previous line and the rest of the line, so that any
line that was changed, removed or inserted later is found, including the last one; the first record of an attempt is
chained to the last line of the previous attempt. Counters are cumulative within the attempt: a single record has the
cost of the attempt up to its time.

Kinds and their main facts: start (format, path, path_start, parent, path_digest, origin, device, processes, price),
heartbeat (loss), skip (first, last, cause, loss, norm, z, seconds, unique_tokens), spike (first, cause, loss, norm, z),
checkpoint (saved_step, bytes, digest), branch-point (saved_step), evaluation (heldout, loss, ..), stop (outcome),
failure (error), rewind (to, amendment, abandoned), in an attempt of its own that trains nothing; of the run's own
ledger: start (format, job, device, processes), export (path, ..), rehearsal (set, tokens, device_seconds, ..),
score (path, task, results, ..), merge (path, version, merged, bytes), forecast (path, version, fork, steps, shape,
final, recorded, state, sets), stop.
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
    *("start", "heartbeat", "skip", "spike", "checkpoint", "branch-point", "evaluation", "stop", "failure", "rewind"),
    *("export", "rehearsal", "score", "merge", "forecast"),
)
NO_LINE = "0" * 64
LINE_START = b'{"sha256":"'
"""First bytes of every line."""
HOW_TO_FIX = "`lrps ledger repair` mends what a full disk tore; otherwise restore the file from a copy"
"""Advice about a damaged ledger."""
_HEAD, _HASH, _TAIL = slice(11), slice(11, 75), slice(75, 77)
"""Parts of a line: `{"sha256":"`, its hash, `",`, and the rest."""
_REST = slice(77, None)
"""Part of a line that is hashed, after the hash of the previous line."""


@dataclass(slots=True)
class Counters:
    """The cost of an attempt so far. Seconds are device-seconds: wall-clock time multiplied by the processes."""

    steps: int = 0
    """Number of optimizer steps, including repeated ones."""
    repeated_steps: int = 0
    """Number of these steps that an earlier attempt had trained and lost."""
    tokens: int = 0
    """Number of tokens trained on: steps x rows x row length.

    Rows are packed without padding, so every token of a row counts, including the EOS tokens of documents, whether
    attention crosses documents or not. (The first token of a row is not predicted: the tokens of an evaluation are
    rows x (row length - 1).)
    """
    repeated_tokens: int = 0
    """Number of tokens in repeated steps. The others are replayed, rehearsal or unique tokens (paths/usage.py)."""
    replayed_tokens: int = 0
    """Number of tokens of older increments that the lineage had trained on before."""
    rehearsal_tokens: int = 0
    """Number of tokens of rehearsal sets."""
    flops: int = 0
    """Model FLOPs of all tokens (paths/cost.py); 0 if there is no formula for the model.

    An upper bound if attention is limited to documents.
    """
    allocated_seconds: float = 0.0
    """Allocated time, whatever it was used for."""
    starting_seconds: float = 0.0
    """Time before the first step: starting the process group (on its first path), building the model, loading."""
    training_seconds: float = 0.0
    """Time in optimizer steps that no attempt had trained before: the productive part."""
    repeating_seconds: float = 0.0
    """Time in repeated steps."""
    saving_seconds: float = 0.0
    """Time in which training waits for a save."""
    evaluating_seconds: float = 0.0
    """Time in evaluations."""
    energy_joules: float | None = None
    """Energy of the devices in joules, by their own counters (NVML); None without counters."""

    @property
    def unique_tokens(self) -> int:
        """Number of tokens that the lineage had never trained on."""
        return self.tokens - self.repeated_tokens - self.replayed_tokens - self.rehearsal_tokens

    @property
    def other_seconds(self) -> float:
        """Rest of the allocated time: reading data, pruning, waiting for other processes, logging."""
        return max(0.0, self.allocated_seconds - self.busy_seconds)

    @property
    def busy_seconds(self) -> float:
        """Allocated time that one of the counters covers."""
        steps = self.training_seconds + self.repeating_seconds
        return self.starting_seconds + steps + self.saving_seconds + self.evaluating_seconds


_COUNTERS = tuple(field.name for field in fields(Counters))


class Record(NamedTuple):
    """One line of a ledger. `step` counts along the path's lineage; `facts` depend on the kind."""

    kind: str
    step: int
    time: str
    counters: Counters
    facts: dict[str, Any]
    sha256: str
    """Hash of this line and, through the chain, of all lines before it."""

    @property
    def saved_step(self) -> int:
        """Step of the saved state, in the record of a checkpoint.

        `step` is the one that training had reached at the publication, which is later for an asynchronous save.
        """
        return int(self.facts.get("saved_step", self.step))


def render(kind: str, step: int, time: str, counters: Counters, facts: dict[str, Any], previous: str) -> bytes:
    """Return the line of a record after the line with the hash `previous`. Raises ValueError for NaN and infinity."""
    values = {"kind": kind, "step": step, "time": time, "counters": asdict(counters), "facts": facts}
    rest = (json.dumps(values, separators=(",", ":"), allow_nan=False)[1:] + "\n").encode()
    return b'{"sha256":"%b",%b' % (_chained(previous.encode(), rest).encode(), rest)


def is_heartbeat(line: bytes) -> bool:
    """Return True for the line of a heartbeat."""
    return line.startswith(b'"kind":"heartbeat"', 77)


def check_line(line: bytes, previous: str | None) -> str:
    """Return the hash of a whole line after the line with the hash `previous`; None leaves the chain unchecked.

    Raises LedgerError, without file and line number, for a line that was changed after it was written.
    """
    stated = line[_HASH]
    if line[_HEAD] != LINE_START or line[_TAIL] != b'",':
        raise LedgerError(f"not a record of a ledger of format {FORMAT}; {HOW_TO_FIX}")
    if previous is not None and _chained(previous.encode(), line[_REST]).encode() != stated:
        raise LedgerError(
            f"this line, or one before it, was changed, removed or inserted after it was written; {HOW_TO_FIX}"
        )
    return stated.decode(errors="replace")


def parse(line: bytes, previous: str | None) -> Record:
    """Return the record of a line. previous and LedgerError as in `check_line`."""
    stated = check_line(line, previous)
    try:
        _, kind, step, time, counters, facts = from_json(line).values()
        if tuple(counters) != _COUNTERS or kind not in KINDS:
            raise LedgerError("a record of another version of lrps; read it with the lrps that wrote it")
        return Record(kind, step, time, Counters(*counters.values()), facts, stated)
    except (ValueError, TypeError, AttributeError) as error:
        raise LedgerError(f"not a record of the ledger ({error}); {HOW_TO_FIX}") from None


def _chained(previous: bytes, rest: bytes) -> str:
    return hashlib.sha256(previous + rest).hexdigest()


def line_hash(line: bytes) -> str:
    """Return the hash that a whole line contains."""
    return line[_HASH].decode(errors="replace")


def attempt_files(ledger_dir: Path) -> list[Path]:
    """Return the files of a ledger's attempts, oldest first. Raises LedgerError for a file with another name."""
    files = list(ledger_dir.glob("*.jsonl"))
    for file in files:
        if not (file.stem.isascii() and file.stem.isdecimal()):
            raise LedgerError(f"{file}: is not the file of an attempt, whose name is a number; move it elsewhere")
    return sorted(files, key=lambda file: int(file.stem))
