"""Ledgers as Parquet, read back by pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lrps.base.errors import ConfigError
from lrps.ledger import parquet
from lrps.ledger.reader import read_attempt
from lrps.ledger.records import FORMAT, Counters, Record
from lrps.ledger.writer import LedgerWriter


def records(directory: Path) -> list[tuple[str, int, Record]]:
    for attempt in range(2):
        writer = LedgerWriter(directory)
        writer.append("start", 0, Counters(), format=FORMAT)
        for step in range(1, 4):
            spent = Counters(steps=step, flops=10**21 * step, energy_joules=2.5 if attempt else None)
            writer.append("heartbeat", step, spent, loss=1.0 / step)
        writer.append("failure", 3, Counters(steps=3), error='it\'s "quoted"')
    return [("main", n, record) for n in range(2) for record in read_attempt(directory / f"00{n}.jsonl")]


def test_every_record_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH_RECORDS", 3)  # several batches
    written, out = records(tmp_path / "ledger"), tmp_path / "new" / "ledger.parquet"
    assert parquet.write_parquet(written, out) == len(written) == 10
    rows = pq.read_table(out).to_pylist()
    for row, (path, attempt, record) in zip(rows, written, strict=True):
        assert (row["path"], row["attempt"], row["kind"], row["step"]) == (path, attempt, record.kind, record.step)
        assert (row["steps"], row["flops"]) == (record.counters.steps, record.counters.flops)
        assert row["energy_joules"] == record.counters.energy_joules
        assert row["loss"] == record.facts.get("loss")
        assert (json.loads(row["facts"]), row["sha256"]) == (record.facts, record.sha256)
        assert row["time"].isoformat(timespec="milliseconds") == record.time


def test_a_fault_leaves_no_half_file(tmp_path: Path) -> None:
    def damaged() -> Iterator[tuple[str, int, Record]]:
        yield records(tmp_path / "ledger")[0]
        raise OSError("the disk is gone")

    with pytest.raises(ConfigError, match="cannot be written"):
        parquet.write_parquet(damaged(), tmp_path / "out.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger"]
