"""Ledgers of a run, checked: every damaged file is named, forks must have something to fork from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import LedgerError
from lrps.ledger.check import FileCheck, check_run
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter


def attempt(run: Path, name: str, start: int, stop: int, **facts: Any) -> Path:
    writer = LedgerWriter(run / name / "ledger")
    writer.append("start", start, Counters(), format=FORMAT, **facts)
    for step in range(start + 1, stop + 1):
        done = step - start
        writer.append("heartbeat", step, Counters(steps=done, tokens=10 * done, allocated_seconds=2.0 * done))
    writer.close()
    return writer.path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    attempt(tmp_path, "main", 0, 6)
    attempt(tmp_path, "main", 4, 9)
    attempt(tmp_path, "branch-v1", 8, 12, parent={"path": "main", "step": 8})
    return tmp_path


def faults(run: Path) -> dict[str, str | None]:
    return {f"{check.path}/{check.file.name}": check.fault for check in check_run(run)}


def test_a_whole_run(run: Path) -> None:
    checks = {f"{check.path}/{check.file.name}": check for check in check_run(run)}
    assert {name: check.records for name, check in checks.items()} == {
        "branch-v1/000.jsonl": 5,
        "main/000.jsonl": 7,
        "main/001.jsonl": 6,
    }
    assert not any(check.fault or check.torn for check in checks.values())
    assert checks["main/001.jsonl"].kinds == {"start": 1, "heartbeat": 5}


def test_every_damaged_file_is_named_with_its_line(run: Path) -> None:
    first, second = run / "main/ledger/000.jsonl", run / "main/ledger/001.jsonl"
    first.write_bytes(first.read_bytes().replace(b'"tokens":30', b'"tokens":31', 1))
    second.write_bytes(second.read_bytes().replace(b'"tokens":40', b'"tokens":41', 1))
    found = faults(run)
    assert f"{first}:4: this line" in str(found["main/000.jsonl"])
    assert f"{second}:5: this line" in str(found["main/001.jsonl"])
    assert found["branch-v1/000.jsonl"] is None


def test_a_torn_line_is_told_and_no_fault(run: Path) -> None:
    file = run / "branch-v1/ledger/000.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    (check,) = (check for check in check_run(run) if check.path == "branch-v1")
    assert (check.torn, check.fault, check.records) == (True, None, 4)


def test_an_attempt_that_is_gone_is_told_by_the_next(run: Path) -> None:
    (run / "main/ledger/000.jsonl").unlink()
    assert "001.jsonl:1: this line, or one before it" in str(faults(run)["main/001.jsonl"])


def test_a_fork_needs_its_parents_ledger(run: Path) -> None:
    attempt(run, "branch-v2", 15, 16, parent={"path": "main", "step": 15})
    attempt(run, "branch-v3", 3, 4, parent={"path": "gone", "step": 3})
    attempt(run, "branch-v4", 10, 11, parent={"path": "main", "step": 10})
    attempt(run, "branch-v5", 9, 11, parent={"path": "main", "step": 9})
    found = faults(run)
    assert "forked from main at step 10" in str(found["branch-v4/000.jsonl"])
    assert found["branch-v5/000.jsonl"] is None
    assert "forked from main at step 15, whose ledger ends at step 9" in str(found["branch-v2/000.jsonl"])
    assert "forked from gone, whose ledger is not here" in str(found["branch-v3/000.jsonl"])


@pytest.mark.parametrize(
    "second",
    [
        Counters(steps=1, tokens=20),
        Counters(steps=2, tokens=20, repeated_tokens=21),
        Counters(steps=2, tokens=20, repeated_steps=3),
        Counters(steps=2, tokens=20, allocated_seconds=100.0, training_seconds=80.0, saving_seconds=30.0),
    ],
)
def test_counters_that_do_not_add_up_are_a_fault(tmp_path: Path, second: Counters) -> None:
    writer = LedgerWriter(tmp_path / "main/ledger")
    writer.append("start", 0, Counters(steps=2, tokens=20), format=FORMAT)
    writer.append("heartbeat", 2, replace(second), loss=1.0)
    (check,) = check_run(tmp_path)
    assert isinstance(check, FileCheck)
    assert "000.jsonl:2: " in str(check.fault)


def test_a_ledger_that_lies_in_another_paths_place_is_a_fault(tmp_path: Path) -> None:
    for name in ("branch-v1", "branch-v2"):
        attempt(tmp_path, name, 4, 6, path=name)
    here, there = tmp_path / "branch-v1/ledger", tmp_path / "branch-v2/ledger"
    here.rename(tmp_path / "moved")
    there.rename(here)
    (tmp_path / "moved").rename(there)
    way_out = "put it back where it was written"
    assert [check.fault for check in check_run(tmp_path)] == [
        f"{here}/000.jsonl:1: this is the ledger of path branch-v2, not of branch-v1; {way_out}",
        f"{there}/000.jsonl:1: this is the ledger of path branch-v1, not of branch-v2; {way_out}",
    ]


def test_an_emptied_attempt_hides_nothing_and_blames_nobody(run: Path) -> None:
    file = run / "main/ledger/000.jsonl"
    attempt(run, "main", 9, 10)
    (run / "main/ledger/001.jsonl").unlink()
    file.write_bytes(file.read_bytes().replace(b'"tokens":30', b'"tokens":31', 1))
    (run / "main/ledger/001.jsonl").write_bytes(b"")
    found = faults(run)
    assert f"{file}:4: this line" in str(found["main/000.jsonl"])
    assert (found["main/001.jsonl"], found["main/002.jsonl"]) == (None, None)


def test_attempts_that_were_put_together_are_a_fault(run: Path) -> None:
    first, second = run / "main/ledger/000.jsonl", run / "main/ledger/001.jsonl"
    first.write_bytes(first.read_bytes() + second.read_bytes())
    second.unlink()
    assert f"{first}:8: a second start in one file" in str(faults(run)["main/000.jsonl"])


def test_a_path_that_was_trained_needs_a_ledger(run: Path) -> None:
    (run / "ptfs-v1" / "checkpoints" / "step-00000005").mkdir(parents=True)
    assert "was trained and has no ledger" in str(faults(run)["ptfs-v1/ledger"])


def test_a_file_that_is_no_attempts_is_an_error(run: Path) -> None:
    (run / "main/ledger/000 (copy).jsonl").write_text("")
    with pytest.raises(LedgerError, match=r"000 \(copy\)\.jsonl: is not the file of an attempt"):
        check_run(run)


def test_a_directory_without_ledgers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="holds no ledger"):
        check_run(tmp_path)
