"""The ledger of a path as a mapping from names to bytes: its chain over all attempts, and its saved steps.

A ledger in a directory is read by lrps.ledger. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from lrps.base.errors import LedgerError
from lrps.ledger.records import NO_LINE, Record, parse

_TWO_MACHINES = (
    ". If another machine continued the path from an older copy, keep one of the two: copy the run under another "
    "name or address"
)


def is_ledger(name: str, path: str) -> bool:
    """Return whether a name in the run directory is that of a ledger file of the path, or of the run for path ""."""
    return name.rpartition("/")[0] == (f"{path}/ledger" if path else "ledger")


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names of ledger files, oldest attempt first, without other names."""
    numbered = (name for name in names if PurePosixPath(name).stem.isdecimal())
    return sorted(numbered, key=lambda name: int(PurePosixPath(name).stem))


def attempt_records(ledger: Mapping[str, bytes]) -> Iterator[tuple[str, int, Record]]:
    """Yield (file, line, record) of a path's attempts, oldest first. Raises LedgerError where the hash chain breaks."""
    previous = NO_LINE
    for name, content in ledger.items():
        for number, line in enumerate(content.splitlines(keepends=True)):
            try:
                record = parse(line, previous)
            except LedgerError as error:
                raise LedgerError(f"{name}:{number + 1}: {error}{'' if number else _TWO_MACHINES}") from None
            previous = record.sha256
            yield name, number, record


def given_up(ledger: Mapping[str, bytes]) -> list[int]:
    """Return the steps of doubtful states that attempts went back from, one entry each time."""
    records = attempt_records(ledger)
    return [step for _, _, record in records if record.kind == "start" for step in record.facts.get("doubtful", ())]


def saves(ledger: Mapping[str, bytes]) -> dict[int, tuple[str, int]]:
    """Return saved step -> (file, line) of the newest checkpoint record of that step."""
    return {
        record.saved_step: (name, number)
        for name, number, record in attempt_records(ledger)
        if record.kind == "checkpoint"
    }
