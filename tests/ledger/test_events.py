"""Events of a run: a chain of their own, also when they end together."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from lrps.ledger.check import check_run
from lrps.ledger.events import book_event
from lrps.ledger.reader import read_ledger


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
