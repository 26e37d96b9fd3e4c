"""Writing: one file an attempt, a chain over all lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrps.errors import LedgerError
from lrps.ledger.records import FORMAT, NO_LINE, Counters, LedgerWriter, attempt_files, line_hash


def test_records_are_chained_within_and_across_attempts(tmp_path: Path) -> None:
    for _ in range(2):
        writer = LedgerWriter(tmp_path)
        writer.append("start", 0, Counters(), format=FORMAT)
        writer.append("stop", 3, Counters(steps=3), outcome="complete")
        writer.close()
    assert [file.name for file in attempt_files(tmp_path)] == ["000.jsonl", "001.jsonl"]
    lines = [line for file in attempt_files(tmp_path) for line in file.read_bytes().splitlines(keepends=True)]
    assert [json.loads(line)["previous"] for line in lines] == [NO_LINE, *(line_hash(line) for line in lines[:-1])]


def test_a_torn_line_is_no_link_of_the_chain(tmp_path: Path) -> None:
    first = LedgerWriter(tmp_path)
    first.append("start", 0, Counters(), format=FORMAT)
    first.close()
    whole = first.path.read_bytes()
    first.path.write_bytes(whole + b'{"kind": "heartb')
    second = LedgerWriter(tmp_path)
    assert second.append("start", 0, Counters(), format=FORMAT).previous == line_hash(whole)


def test_counters_are_copied(tmp_path: Path) -> None:
    counters = Counters()
    record = LedgerWriter(tmp_path).append("start", 0, counters, format=FORMAT)
    counters.steps = 9
    assert record.counters.steps == 0


def test_an_unknown_kind_and_a_number_json_lacks_are_refused(tmp_path: Path) -> None:
    writer = LedgerWriter(tmp_path)
    with pytest.raises(ValueError, match="unknown kind"):
        writer.append("pause", 0, Counters())
    with pytest.raises(ValueError, match="JSON"):
        writer.append("heartbeat", 0, Counters(), loss=float("nan"))


def test_a_full_disk_is_an_error() -> None:
    writer = LedgerWriter.__new__(LedgerWriter)
    writer.path, writer._previous = Path("/dev/full"), NO_LINE
    with open("/dev/full", "wb", buffering=0) as full:
        writer._file = full
        with pytest.raises(LedgerError, match="free space, then rerun"):
            writer.append("start", 0, Counters(), format=FORMAT)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot write the ledger"):
        LedgerWriter(tmp_path / "file" / "ledger")
