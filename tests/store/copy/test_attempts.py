"""The ledger of a path as named bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrps.base.errors import LedgerError
from lrps.store.copy.attempts import attempt_records, in_order, is_ledger, saves
from support.run_builder import attempt, small_plan


@pytest.fixture
def ledger(tmp_path: Path) -> dict[str, bytes]:
    """Two attempts: steps 1 to 3 with a save of 2, then 3 to 5 with saves of 2 (again) and 4."""
    plan = small_plan(tmp_path)
    attempt(plan, "main", 0, 3, (2,))
    attempt(plan, "main", 1, 5, (2, 4))
    return {f"main/ledger/{file.name}": file.read_bytes() for file in plan.layout.path("main").ledger.iterdir()}


def test_attempts_are_ordered_by_their_numbers() -> None:
    names = ["a/ledger/1000.jsonl", "a/ledger/999.jsonl", "a/metrics.jsonl", "a/ledger/000.jsonl"]
    assert in_order(names) == ["a/ledger/000.jsonl", "a/ledger/999.jsonl", "a/ledger/1000.jsonl"]


def test_a_ledger_is_of_a_path_or_of_the_run() -> None:
    assert is_ledger("main/ledger/000.jsonl", "main")
    assert not is_ledger("main2/ledger/000.jsonl", "main")
    assert not is_ledger("main/ledger/000.jsonl", "")
    assert is_ledger("ledger/000.jsonl", "")


def test_the_newest_record_of_a_save_counts(ledger: dict[str, bytes]) -> None:
    ordered = {name: ledger[name] for name in in_order(ledger)}
    # start, heartbeats and a checkpoint after the second heartbeat; then start, 2, its checkpoint, 3, 4, its checkpoint
    assert saves(ordered) == {2: ("main/ledger/001.jsonl", 2), 4: ("main/ledger/001.jsonl", 5)}


def test_an_attempt_that_goes_on_from_another_copy_is_found(ledger: dict[str, bytes]) -> None:
    first, second = in_order(ledger)
    shorter = b"".join(ledger[first].splitlines(keepends=True)[:-1])
    with pytest.raises(LedgerError, match=r"main/ledger/001.jsonl:1: .*another machine continued"):
        list(attempt_records({first: shorter, second: ledger[second]}))


def test_a_changed_line_is_found(ledger: dict[str, bytes]) -> None:
    first = in_order(ledger)[0]
    lines = ledger[first].splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"loss":2.0', b'"loss":1.0')
    with pytest.raises(LedgerError, match=r"main/ledger/000.jsonl:3: "):
        list(attempt_records({first: b"".join(lines)}))
