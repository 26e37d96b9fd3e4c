"""Repair of ledgers with a line that starts with a torn record.

A writer that met a full disk could leave a part of a record, and append the next record to it. Which bytes are the torn
part is provable: without them, the rest of the line continues the hash chain. Nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrps.base.errors import LedgerError
from lrps.base.files import atomic_write_bytes, regular_file
from lrps.base.foreign_json import bounded_lines
from lrps.base.locks import path_lock
from lrps.ledger.records import LINE_START, NO_LINE, attempt_files, line_hash, parse


@dataclass(frozen=True)
class TornRecord:
    """Bytes of a record that was written in part, at the start of a line."""

    file: Path
    line: int
    """Number of the line, from 1."""
    offset: int
    """Position of the first byte in the file."""
    data: bytes

    @property
    def aside(self) -> Path:
        """File in which a repair keeps the bytes. Its name gives the position that they had."""
        return self.file.with_name(f"{self.file.stem}.torn-{self.offset}")


def find_torn_records(ledger_dir: Path) -> tuple[TornRecord, ...]:
    """Return the torn records of all attempts in a ledger, oldest first.

    Raises LedgerError with file and line for damage that is not provably a torn record.
    """
    return tuple(_torn_records(attempt_files(ledger_dir)))


def repair(ledger_dir: Path) -> tuple[TornRecord, ...]:
    """Cut the torn records out of a ledger's files, and keep each in a file of its own; return them.

    All files are checked before the first is changed. Raises LedgerError as `find_torn_records` does, and LineageError
    while the path is being trained.
    """
    with path_lock(ledger_dir.parent), path_lock(ledger_dir, "written"):
        torn = find_torn_records(ledger_dir)
        for each in torn:
            atomic_write_bytes(each.aside, each.data)
        for file in dict.fromkeys(each.file for each in torn):
            data = file.read_bytes()
            for each in reversed([each for each in torn if each.file == file]):
                data = data[: each.offset] + data[each.offset + len(each.data) :]
            atomic_write_bytes(file, data)
    return torn


def _torn_records(files: Sequence[Path]) -> Iterator[TornRecord]:
    previous = NO_LINE
    for file in files:
        offset = 0
        with open(file, "rb", opener=regular_file) as lines:
            for number, line in enumerate(bounded_lines(lines, str(file)), 1):
                if not line.endswith(b"\n"):
                    break  # A torn last line needs no repair.
                torn = _torn_bytes(line, previous, f"{file}:{number}")
                if torn:
                    yield TornRecord(file, number, offset, line[:torn])
                previous = line_hash(line[torn:])
                offset += len(line)


def _torn_bytes(line: bytes, previous: str, where: str) -> int:
    """Return the number of bytes at the start of a line without which it continues the chain after `previous`."""
    start = 0
    first_error: LedgerError | None = None
    while start >= 0:
        try:
            parse(line[start:], previous)
        except LedgerError as error:
            first_error = first_error or error
            start = line.find(LINE_START, start + 1)
        else:
            return start
    raise LedgerError(f"{where}: {first_error}")
