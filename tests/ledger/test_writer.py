"""Writing: one file an attempt, a chain over all lines."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest

from lrps.base.errors import LedgerError
from lrps.ledger.check import check_run
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import FORMAT, NO_LINE, Counters, attempt_files, parse
from lrps.ledger.writer import LedgerWriter, book_event, last_line_hash


def test_records_are_chained_within_and_across_attempts(tmp_path: Path) -> None:
    hashes = [NO_LINE]
    for _ in range(2):
        writer = LedgerWriter(tmp_path)
        hashes.append(writer.append("start", 0, Counters(), format=FORMAT).sha256)
        hashes.append(writer.append("stop", 3, Counters(steps=3), outcome="complete").sha256)
        writer.close()
    assert [file.name for file in attempt_files(tmp_path)] == ["000.jsonl", "001.jsonl"]
    lines = [line for file in attempt_files(tmp_path) for line in file.read_bytes().splitlines(keepends=True)]
    assert [json.loads(line)["sha256"] for line in lines] == hashes[1:]
    assert [parse(line, before).sha256 for line, before in zip(lines, hashes, strict=False)] == hashes[1:]
    assert len(set(hashes)) == 5


def test_a_torn_line_is_no_link_of_the_chain(tmp_path: Path) -> None:
    first = LedgerWriter(tmp_path)
    start = first.append("start", 0, Counters(), format=FORMAT)
    first.close()
    first.path.write_bytes(first.path.read_bytes() + b'{"sha256": "heartb')
    assert last_line_hash(attempt_files(tmp_path)) == start.sha256
    second = LedgerWriter(tmp_path)
    second.append("start", 0, Counters(), format=FORMAT)
    assert len(list(read_ledger(tmp_path))) == 2


def test_what_is_given_back_is_what_is_read(tmp_path: Path) -> None:
    counters = Counters(steps=2, allocated_seconds=1.23456, energy_joules=7.5)
    record = LedgerWriter(tmp_path).append("start", 0, counters, format=FORMAT, named={"v1": "x"})
    counters.steps = 9
    assert list(read_ledger(tmp_path)) == [record]
    assert (record.counters.steps, record.counters.allocated_seconds) == (2, 1.235)


def test_an_unknown_kind_and_a_number_json_lacks_are_refused(tmp_path: Path) -> None:
    writer = LedgerWriter(tmp_path)
    with pytest.raises(ValueError, match="unknown kind"):
        writer.append("pause", 0, Counters())
    with pytest.raises(ValueError, match="JSON"):
        writer.append("heartbeat", 0, Counters(), loss=float("nan"))
    assert writer.path.read_bytes() == b""


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let the system cut writes at `size` bytes of a file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("room", [0, 1, 76, 300])
def test_a_short_write_leaves_whole_lines_and_ends_the_writer(tmp_path: Path, room: int) -> None:
    writer = LedgerWriter(tmp_path)
    writer.append("start", 0, Counters(), format=FORMAT)
    whole = writer.path.read_bytes()
    with files_end_at(len(whole) + room), pytest.raises(LedgerError, match="free space, then rerun"):
        writer.append("heartbeat", 1, Counters(steps=1), loss=1.0, long="x" * 300)
    assert writer.path.read_bytes() == whole
    with pytest.raises(LedgerError, match="after a failed write"):  # Although there is room again.
        writer.append("failure", 1, Counters(steps=1), error="the disk was full")
    second = LedgerWriter(tmp_path)
    second.append("start", 1, Counters(), format=FORMAT)
    assert [record.kind for record in read_ledger(tmp_path)] == ["start", "start"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="make the directory writable"):
        LedgerWriter(tmp_path / "file" / "ledger")


# Events in the run's own ledger


def book(ledger_dir: Path, number: int) -> None:
    book_event(ledger_dir, "export", number, 1.5, path="main", bytes=number)


def test_events_that_end_together_are_all_booked(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with ProcessPoolExecutor(4, get_context("fork")) as pool:
        list(pool.map(book, [ledger] * 8, range(8)))
    exports = [record for record in read_ledger(ledger) if record.kind == "export"]
    assert sorted(record.facts["bytes"] for record in exports) == list(range(8))
    assert {record.counters.allocated_seconds for record in exports} == {1.5}
    checks = check_run(tmp_path)
    assert [(check.path, check.fault, check.records) for check in checks] == [("", None, 3)] * 8
