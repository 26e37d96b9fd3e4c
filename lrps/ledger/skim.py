"""A path's ledger while it grows: only what was appended is read, and only what still says something is kept.

For who watches. What is kept is checked against the chain of hashes; what is passed over is not (reader.py does).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lrps.base.errors import LedgerError
from lrps.base.tail import Tail
from lrps.ledger.records import NO_LINE, Record, attempt_files, is_heartbeat, line_hash, parse


@dataclass(frozen=True)
class _Attempt:
    """The file of one attempt, as far as it was read."""

    last_hash: str
    """Of the last whole line; before the first one, of the last line of the attempt before."""
    tail: Tail = field(default_factory=Tail)
    records: tuple[Record, ...] = ()
    damage: str | None = None

    def refreshed(self, file: Path, previous: str) -> _Attempt:
        """As the file is now. previous: the hash that its first line goes on from."""
        attempt = self
        while True:
            tail, lines, restarted = attempt.tail.read(file)
            before = _Attempt(previous) if restarted else attempt
            records, damage = _skim(lines, before, str(file))
            last_hash = line_hash(lines[-1]) if lines else before.last_hash
            attempt = _Attempt(last_hash, tail, records, before.damage or damage)
            if not lines:
                return attempt


def _skim(lines: Sequence[bytes], before: _Attempt, file: str) -> tuple[tuple[Record, ...], str | None]:
    """The records so far and those of new lines, without outdated heartbeats; and what is wrong with the first line
    that is no record."""
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
class SkimmedLedger:
    """The records of a path but for each heartbeat that the next one of its attempt outdates.

    Counters are cumulative, so that these records add up to what all of them add up to.
    """

    attempts: Mapping[str, _Attempt] = field(default_factory=dict)

    @property
    def records(self) -> tuple[Record, ...]:
        """Oldest first."""
        return tuple(record for attempt in self.attempts.values() for record in attempt.records)

    @property
    def damage(self) -> str | None:
        """What is wrong with the first line that is no record of a ledger, if there is one."""
        return next((attempt.damage for attempt in self.attempts.values() if attempt.damage), None)

    def refreshed(self, ledger_dir: Path) -> SkimmedLedger:
        """As it is now."""
        attempts, previous = {}, NO_LINE
        for file in attempt_files(ledger_dir):
            attempt = self.attempts.get(file.name, _Attempt(previous)).refreshed(file, previous)
            attempts[file.name], previous = attempt, attempt.last_hash
        return SkimmedLedger(attempts)
