"""Reading ledgers: strictly from the first line, or repeatedly while a ledger grows.

A torn last line, which a writer that was killed leaves behind, is tolerated; nothing else is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lrps.base.errors import LedgerError
from lrps.base.files import regular_file
from lrps.base.foreign_json import bounded_lines
from lrps.base.tail import Tail
from lrps.ledger.records import FORMAT, NO_LINE, Record, attempt_files, check_line, is_heartbeat, line_hash, parse
from lrps.ledger.set_back_clocks import without_decreases

CALLBACK = "callback"
"""Key of a `stop` record with the name of the callback that stopped the path."""


def read_attempt(file: Path, previous: str | None = None, *, heartbeats: bool = True) -> Iterator[Record]:
    """Yield the records of one attempt in order, in constant memory.

    previous: hash of the line before the first record; None leaves that hash unchecked. heartbeats False leaves out
    every heartbeat that is followed by another one, which is four times as fast. Counters are cumulative, so the other
    records add up to the same totals, and every line is checked all the same.
    Raises LedgerError with file and line for a line that was changed after it was written.
    """
    skipped: bytes | None = None
    number = 0
    try:
        with open(file, "rb", opener=regular_file) as lines:
            for number, line in enumerate(bounded_lines(lines, str(file)), 1):
                if not line.endswith(b"\n"):
                    break  # Torn: the writer was killed during this write.
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
    """Raise LedgerError unless the first line alone is a start, and names the path whose directory the file is in."""
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
    """Yield the records of all attempts at a path, oldest first, and check the hash chain across attempts.

    Times that decrease, because a clock was set back, are corrected.
    """
    previous = NO_LINE
    for file in attempt_files(ledger_dir):
        for record in without_decreases(read_attempt(file, previous, heartbeats=heartbeats)):
            previous = record.sha256
            yield record


def until(records: Iterable[Record], stop: int) -> Iterator[Record]:
    """Yield the records that led to step `stop`: those of every attempt up to that step, none of later attempts.

    Needed for a main path that has grown, or that is longer in another paradigm.
    """
    inside = False
    for record in records:
        if record.kind == "start":
            inside = record.step < stop or record.facts["path_start"] == stop
        inside = inside and record.step <= stop
        if inside:
            yield record


RAW = "raw"
"""Form of a state as it was trained; records of its evaluations have no fact `form`."""
EMA = "ema"
"""Form of a state whose weights are the exponential moving average of the trained ones (`average.ema`)."""
MERGE = "merge"
"""Form of a state whose weights are the mean of those of several saved states; its step is that of the newest one."""


class EvaluationKey(NamedTuple):
    """Key of an evaluation: the state, the form of its weights, and the held-out set."""

    step: int
    """Lineage step of the state."""
    heldout: str
    """Version of the held-out set."""
    form: str = RAW
    """Form of the weights: RAW, EMA or MERGE."""


@dataclass(frozen=True)
class HeldoutEvaluation:
    """The loss of a state on one held-out set: of a released one, or of a main path in between."""

    step: int
    heldout: str
    manifest_sha256: str
    loss: float
    """Loss in nats per predicted token."""
    bits_per_byte: float
    rows: int
    tokens: int
    """Number of predicted tokens in these rows."""
    initial_weights: str | None = None
    """Digest of the model that the plan starts from, if that is the state; None for a state of the path."""
    row_losses_sha256: str | None = None
    """SHA-256 of the file with the loss of every sequence; None if an earlier version of lrps evaluated."""
    first_rows: Mapping[str, Any] | None = None
    """`rows` and `loss` on the first sequences, if main paths were evaluated on fewer than the state."""
    form: str = RAW
    """Form of the weights that were evaluated."""


_MEASURED = ("heldout", "manifest_sha256", "loss", "bits_per_byte", "rows", "tokens")
"""Facts of every record of an evaluation."""

_OTHERS = ("initial_weights", "row_losses_sha256", "first_rows")
"""Facts of some of these records."""


def evaluations(records: Iterable[Record]) -> dict[EvaluationKey, HeldoutEvaluation]:
    """Return the newest evaluation of every state on every held-out set, each form of a state by itself.

    Those of states that a rewind has abandoned, or that were given up as doubtful, are left out.
    """
    found: dict[EvaluationKey, HeldoutEvaluation] = {}
    for record in records:
        if record.kind == "start" and record.facts.get("doubtful"):  # What follows is trained again.
            found = {key: each for key, each in found.items() if each.step <= record.step}
        if record.kind == "rewind":
            found = {key: each for key, each in found.items() if each.step <= record.facts["to"]}
        if record.kind == "evaluation":
            facts: dict[str, Any] = {key: record.facts[key] for key in _MEASURED}
            others: dict[str, Any] = {key: record.facts.get(key) for key in _OTHERS}
            form = record.facts.get("form", RAW)
            found[EvaluationKey(record.step, facts["heldout"], form)] = HeldoutEvaluation(
                record.step, **facts, **others, form=form
            )
    return found


@dataclass(frozen=True)
class _FollowedAttempt:
    """The file of one attempt, as far as it was read."""

    last_hash: str
    """Hash of the last whole line; before the first one, that of the last line of the previous attempt."""
    tail: Tail = field(default_factory=Tail)
    records: tuple[Record, ...] = ()
    damage: str | None = None

    def refreshed(self, file: Path, previous: str) -> _FollowedAttempt:
        """Return the attempt with the lines that are new in the file. previous: hash of the line before its first."""
        attempt = self
        while True:
            tail, lines, restarted = attempt.tail.read(file)
            before = _FollowedAttempt(previous) if restarted else attempt
            records, damage = _without_outdated(lines, before, str(file))
            last_hash = line_hash(lines[-1]) if lines else before.last_hash
            attempt = _FollowedAttempt(last_hash, tail, records, before.damage or damage)
            if not lines:
                return attempt


def _without_outdated(
    lines: Sequence[bytes], before: _FollowedAttempt, file: str
) -> tuple[tuple[Record, ...], str | None]:
    """Return the records of `before` and of new lines without outdated heartbeats, and what is wrong with the lines.

    The second value describes the first line that is no record; None if all are.
    """
    kept, damage = list(before.records), None
    beats = [is_heartbeat(line) for line in lines]
    if kept and kept[-1].kind == "heartbeat" and beats and beats[0]:
        kept.pop()
    for index, line in enumerate(lines):
        if beats[index] and beats[index + 1 : index + 2] == [True]:
            continue
        try:
            kept.append(parse(line, line_hash(lines[index - 1]) if index else before.last_hash))
        except LedgerError as error:
            damage = damage or f"{file}: {error}"
    return tuple(kept), damage


@dataclass(frozen=True)
class FollowedLedger:
    """The records of a path's ledger while it grows, without heartbeats that the next one of the attempt outdates.

    Counters are cumulative, so these records add up to the same totals as all records. The hash chain is checked for
    the records that are kept, not for the others.
    """

    attempts: Mapping[str, _FollowedAttempt] = field(default_factory=dict)

    @property
    def records(self) -> tuple[Record, ...]:
        """The records of all attempts, oldest first."""
        return tuple(record for attempt in self.attempts.values() for record in without_decreases(attempt.records))

    @property
    def damage(self) -> str | None:
        """Description of the first line that is no record of a ledger; None if there is none."""
        return next((attempt.damage for attempt in self.attempts.values() if attempt.damage), None)

    def refreshed(self, ledger_dir: Path) -> FollowedLedger:
        """Return the ledger with the lines that are new in its files; only those are read."""
        attempts, previous = {}, NO_LINE
        for file in attempt_files(ledger_dir):
            attempt = self.attempts.get(file.name, _FollowedAttempt(previous)).refreshed(file, previous)
            attempts[file.name], previous = attempt, attempt.last_hash
        return FollowedLedger(attempts)
