"""The ledger of a path as named bytes, wherever they come from: the chain over all attempts, and what they saved.

A ledger in a directory is read by lrps.ledger. Floor 1: imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from lrps.base.errors import LedgerError
from lrps.ledger.records import NO_LINE, Record, parse

_TWO_MACHINES = (
    ". If another machine went on with the path from an older copy, keep one of the two: copy the run under another "
    "name or address"
)


def is_ledger(name: str, path: str) -> bool:
    """True of the attempts of a path, as the run directory names them; of those of the run for an empty path."""
    return name.rpartition("/")[0] == (f"{path}/ledger" if path else "ledger")


def in_order(names: Iterable[str]) -> list[str]:
    """The names of ledger files, oldest attempt first; other names are left out."""
    numbered = (name for name in names if PurePosixPath(name).stem.isdecimal())
    return sorted(numbered, key=lambda name: int(PurePosixPath(name).stem))


def attempt_records(ledger: Mapping[str, bytes]) -> Iterator[tuple[str, int, Record]]:
    """(file, line, record) of a path's attempts, oldest first. LedgerError for a line that does not follow its last."""
    previous = NO_LINE
    for name, content in ledger.items():
        for number, line in enumerate(content.splitlines(keepends=True)):
            try:
                record = parse(line, previous)
            except LedgerError as error:
                raise LedgerError(f"{name}:{number + 1}: {error}{'' if number else _TWO_MACHINES}") from None
            previous = record.sha256
            yield name, number, record


def saves(ledger: Mapping[str, bytes]) -> dict[int, tuple[str, int]]:
    """Saved step -> the place (file, line) of the newest record that says so."""
    return {
        record.saved_step: (name, number)
        for name, number, record in attempt_records(ledger)
        if record.kind == "checkpoint"
    }
