"""Repair: what is provably torn is cut and kept, everything else is left as found."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lrps.base.errors import LedgerError, LineageError
from lrps.base.locks import path_lock
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.repair import find_torn_records, repair
from lrps.ledger.writer import LedgerWriter


def ledger_of(directory: Path, attempts: int = 2, records: int = 4) -> Path:
    for _ in range(attempts):
        writer = LedgerWriter(directory)
        writer.append("start", 0, Counters(), format=FORMAT)
        for step in range(1, records):
            writer.append("heartbeat", step, Counters(steps=step), loss=float(step), note='{"sha256":"no record"}')
        writer.close()
    return directory


def torn(data: bytes, seed: int) -> tuple[bytes, bytes]:
    """Return the file with a part of a record before one of its lines after the first, and that part."""
    random_state = random.Random(seed)
    lines = data.splitlines(keepends=True)
    where = random_state.randrange(1, len(lines))
    part = lines[where][: random_state.randrange(1, len(lines[where]) - 1)]
    return b"".join((*lines[:where], part, *lines[where:])), part


@pytest.mark.parametrize("seed", range(40))
def test_a_torn_record_is_cut_and_kept_and_the_file_is_that_of_before(tmp_path: Path, seed: int) -> None:
    ledger = ledger_of(tmp_path / "main" / "ledger")
    file = ledger / f"00{seed % 2}.jsonl"
    whole = file.read_bytes()
    damaged, part = torn(whole, seed)
    file.write_bytes(damaged)
    with pytest.raises(LedgerError, match="lrps ledger repair"):
        list(read_ledger(ledger))
    (found,) = repair(ledger)
    assert file.read_bytes() == whole
    assert found.aside.read_bytes() == part == damaged[found.offset : found.offset + len(part)]
    assert len(list(read_ledger(ledger))) == 8
    assert repair(ledger) == ()


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_byte_is_no_torn_record_and_nothing_is_changed(tmp_path: Path, seed: int) -> None:
    ledger = ledger_of(tmp_path / "main" / "ledger")
    first, second = ledger / "000.jsonl", ledger / "001.jsonl"
    second.write_bytes(torn(second.read_bytes(), seed)[0])
    data = bytearray(first.read_bytes())
    data[random.Random(seed).randrange(len(data) - 1)] ^= 4
    first.write_bytes(bytes(data))
    before = second.read_bytes()
    with pytest.raises(LedgerError, match=r"000\.jsonl:\d"):
        repair(ledger)
    assert (first.read_bytes(), second.read_bytes()) == (bytes(data), before)
    assert not list(ledger.glob("*.torn-*"))


def test_an_intact_ledger_and_a_torn_last_line_need_no_repair(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path / "main" / "ledger", attempts=1)
    with open(ledger / "000.jsonl", "ab") as file:
        file.write(b'{"sha256":"12')
    assert find_torn_records(ledger) == ()


def test_a_ledger_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path / "main" / "ledger")
    with path_lock(tmp_path / "main"), pytest.raises(LineageError, match="wait for it"):
        repair(ledger)
