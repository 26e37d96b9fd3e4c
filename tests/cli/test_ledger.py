"""`lrps ledger` as a person types it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lrps.ledger.metrics import Metrics, MetricsWriter
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter, book_event
from support.preloaded import run_lrps

PRICE = {"amount": 3.6, "currency": "USD", "source": "list", "date": "2026-01-01"}


def ledger(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_lrps("ledger", *arguments)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A main path that lost two steps, and an export."""
    run = tmp_path / "runs" / "small"
    for attempt, (start, stop, repeated) in enumerate(((0, 5, 0), (3, 8, 2))):
        writer = LedgerWriter(run / "main" / "ledger")
        facts = {"format": FORMAT, "path_start": 0, "device": "cpu", "processes": 2, "price_per_device_hour": PRICE}
        writer.append("start", start, Counters(), **facts)
        spent = Counters(
            steps=stop - start,
            repeated_steps=repeated,
            tokens=10 * (stop - start),
            repeated_tokens=10 * repeated,
            allocated_seconds=3600.0,
            training_seconds=1800.0,
            repeating_seconds=900.0 * attempt,
        )
        metrics = MetricsWriter(run / "main" / "metrics.jsonl")
        metrics.write(Metrics(stop, 10 * stop, 2.0, 1e-3, None, 9.0))
        metrics.close()
        writer.append("heartbeat", stop, spent, loss=2.0)
        if attempt:
            writer.append("stop", stop, spent, outcome="complete")
    book_event(run / "ledger", "export", 8, 2.0, path="main", bytes=7)
    return run


def test_verify(run: Path) -> None:
    good = ledger("verify", run)
    assert (good.returncode, good.stderr) == (0, "")
    assert "8 records in 3 files, every line as it was written." in good.stdout
    file = run / "main/ledger/001.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"steps":5', b'"steps":4'))
    bad = ledger("verify", run)
    assert bad.returncode == 2
    assert f"{file}:2: this line, or one before it, was changed" in bad.stdout
    document = json.loads(ledger("verify", run, "--json").stdout)
    assert (document["ok"], [each["records"] for each in document["files"]]) == (False, [3, 2, 1])


def test_verify_compares_the_metrics(run: Path) -> None:
    file = run / "main" / "metrics.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"loss": 2.0', b'"loss": 1.0', 1))
    bad = ledger("verify", run)
    assert (bad.returncode, bad.stderr) == (2, "")
    assert f"{file}:1: the ledger has no step 5 with a loss of 1" in bad.stdout
    assert json.loads(ledger("verify", run, "--json").stdout)["ok"] is False


def test_repair(run: Path) -> None:
    assert "nothing to repair" in ledger("repair", run).stdout
    file = run / "main/ledger/001.jsonl"
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    file.write_bytes(b"".join((lines[0], lines[1][:40], *lines[1:])))
    assert "`lrps ledger repair` mends what a full disk tore" in ledger("verify", run).stdout
    mended = ledger("repair", run)
    assert (mended.returncode, mended.stderr) == (0, "")
    assert f"{file}:2: cut 40 bytes of a torn record" in mended.stdout
    assert (file.read_bytes(), ledger("verify", run).returncode) == (whole, 0)
    file.write_bytes(whole.replace(b'"steps":5', b'"steps":4'))
    left = ledger("repair", run)
    assert left.returncode == 2
    assert f"{file}:2: this line" in left.stderr


def test_show(run: Path) -> None:
    (path,) = json.loads(ledger("show", run, "--json").stdout)["paths"]
    assert (path["name"], path["state"], path["attempts"], path["repeated_steps"]) == ("main", "complete", 2, 2)
    assert path["tokens"] == {
        "all": 100,
        "unique": 80,
        "replayed": 0,
        "rehearsal": 0,
        "repeated": 20,
        "skipped": 0,
    }
    assert path["skipped"] == path["spikes"] == []
    assert path["device_hours_by_use"]["repeating after kill"] == 0.25
    assert (path["goodput"], path["money"], path["currency"], path["energy_kwh"]) == (0.5, 7.2, "USD", None)
    text = " ".join(ledger("show", run).stdout.split())
    assert "repeating after" in text
    assert "main 2 h 1 h 0 0 0 15 min 50.0% (not shown in 80 columns: other; money; kWh)" in text


def test_show_records(run: Path) -> None:
    records = json.loads(ledger("show", run, "main", "--last", "2", "--json").stdout)
    assert [(each["attempt"], each["kind"], each["step"]) for each in records] == [(1, "heartbeat", 8), (1, "stop", 8)]
    assert "bytes=7" in ledger("show", run, "--kind", "export").stdout
    assert "it has main" in ledger("show", run, "branch-v9").stderr
    assert "--kind pause: a ledger has start, heartbeat" in ledger("show", run, "--kind", "pause").stderr


def test_export(run: Path, tmp_path: Path) -> None:
    done = ledger("export", run, "--parquet", tmp_path / "all.parquet")
    assert done.stdout == f"{tmp_path / 'all.parquet'}: 8 records\n"
    assert pq.read_table(tmp_path / "all.parquet").column("kind").to_pylist().count("start") == 3
