"""Writing ledgers: the file of an attempt, and events in the run's own ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lrps.base.errors import LedgerError
from lrps.base.files import atomic_write_bytes
from lrps.base.line_file import LineFile
from lrps.base.locks import path_lock
from lrps.ledger.records import FORMAT, KINDS, NO_LINE, Counters, Record, attempt_files, line_hash, render

_MILLISECONDS = 3


def last_line_hash(files: Sequence[Path]) -> str:
    """Return the hash of the last whole line in the files of attempts; torn lines and empty files do not count.

    files: oldest first.
    """
    for file in reversed(files):
        whole = [line for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        if whole:
            return line_hash(whole[-1])
    return NO_LINE


class LedgerWriter:
    """A writer that appends to the file of a new attempt, with one write call per record, in one process (rank 0).

    Raises LedgerError if the file cannot be written: training must not continue unrecorded. After a failed write
    nothing more is written, so the file ends with a whole line.
    """

    def __init__(self, ledger_dir: Path) -> None:
        earlier = attempt_files(ledger_dir)
        self.attempt = int(earlier[-1].stem) + 1 if earlier else 0
        self.path = ledger_dir / f"{self.attempt:03d}.jsonl"
        self._previous = last_line_hash(earlier)
        with self._writing("make the directory writable"):
            ledger_dir.mkdir(parents=True, exist_ok=True)
            self._file = LineFile(self.path, "x")

    @property
    def last_sha256(self) -> str:
        """Hash of the last line, over all lines of the path's ledger."""
        return self._previous

    def append(self, kind: str, step: int, counters: Counters, **facts: Any) -> Record:
        """Write a record and return it. Facts are JSON values; a non-finite number must be given as a string."""
        if kind not in KINDS:
            raise ValueError(f"unknown kind of record: {kind}")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        rounded = _rounded(counters)
        line = render(kind, step, now, rounded, facts, self._previous)
        with self._writing("free space, then rerun"):
            self._file.append(line)
        self._previous = line_hash(line)
        return Record(kind, step, now, rounded, facts, self._previous)

    def sync(self) -> None:
        """Make all records so far durable: they survive a crash of the machine."""
        with self._writing("free space, then rerun"):
            self._file.sync()

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _writing(self, how_to_fix: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LedgerError(f"{self.path}: cannot write the ledger: {error}; {how_to_fix}") from None


def _rounded(counters: Counters) -> Counters:
    """Return a copy with seconds rounded to milliseconds, the precision of the clocks, to keep lines short."""
    seconds = {name: round(getattr(counters, name), _MILLISECONDS) for name in _SECONDS}
    return replace(counters, **seconds)


_SECONDS = tuple(name for name in Counters.__annotations__ if name.endswith("_seconds"))


def write_attempt(ledger_dir: Path, records: Sequence[tuple[str, int, Mapping[str, Any]]]) -> None:
    """Write an attempt that spends nothing, with all of its records at once: a crash leaves all of them or none.

    records: (kind, step, facts) of each, the first one a start. Raises LedgerError if it cannot be written.
    """
    earlier = attempt_files(ledger_dir)
    file = ledger_dir / f"{int(earlier[-1].stem) + 1 if earlier else 0:03d}.jsonl"
    previous, lines = last_line_hash(earlier), list[bytes]()
    for kind, step, facts in records:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines.append(render(kind, step, now, Counters(), dict(facts), previous))
        previous = line_hash(lines[-1])
    try:
        atomic_write_bytes(file, b"".join(lines))
    except OSError as error:
        raise LedgerError(f"{file}: cannot write the ledger: {error}; free space, then rerun") from None


def book_event(
    ledger_dir: Path,
    kind: str,
    step: int,
    seconds: float,
    *,
    device: str = "cpu",
    price: Mapping[str, Any] | None = None,
    **facts: Any,
) -> None:
    """Append an event that has ended to the run's own ledger, as a file of its own in the same chain of lines.

    seconds: time of one process on the device; it is no device-time of any path. price: price of a device-hour, as
    attempts at paths record it. Several processes may call this at the same time: each waits for the lock, for a second
    at most. Raises LineageError if another process has it longer, and LedgerError if the ledger cannot be written.
    """
    begun = {"format": FORMAT, "job": kind, "path_start": step, "device": device, "processes": 1}
    if price is not None:
        begun["price_per_device_hour"] = dict(price)
    with path_lock(ledger_dir, "written"):
        writer = LedgerWriter(ledger_dir)
        writer.append("start", step, Counters(), **begun)
        spent = Counters(allocated_seconds=seconds)
        writer.append(kind, step, spent, **facts)
        writer.append("stop", step, spent, outcome="complete")
        writer.sync()
        writer.close()
