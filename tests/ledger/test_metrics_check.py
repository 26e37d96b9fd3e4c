"""metrics.jsonl against its ledger: every damaged line is named, kills and repeated steps are no faults."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from lrps.ledger.heldout_metrics import HeldoutMetrics, parse_heldout
from lrps.ledger.metrics import Metrics, MetricsWriter, RecentMetrics, read_metrics
from lrps.ledger.metrics_check import metrics_fault, metrics_faults
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter

LOGGED = 30


def train(directory: Path, start: int, stop: int, *, unrecorded: int = 0, same: bool = False) -> None:
    """Log steps as a recorder does. unrecorded: number of last steps whose heartbeats are not written.

    same: whether steps that are trained again have the losses of before.
    """
    writer, metrics = LedgerWriter(directory / "ledger"), MetricsWriter(directory / "metrics.jsonl")
    writer.append("start", start, Counters(), format=FORMAT)
    for step in range(start + 1, stop + 1):
        loss = 5 / step + (0 if same else start)
        metrics.write(Metrics(step, 10 * step, loss, 1e-3, 0.5, 100.0))
        if step <= stop - unrecorded:
            writer.append("heartbeat", step, Counters(steps=step - start), loss=loss)
    writer.close()
    metrics.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    train(tmp_path / "main", 0, 20, unrecorded=1)
    train(tmp_path / "main", 15, LOGGED)
    return tmp_path / "main" / "metrics.jsonl"


def evaluate(directory: Path, step: int, loss: float, *, form: str = "raw", recorded: bool = True) -> None:
    """Record a held-out loss as a recorder does. recorded: whether the ledger has it too."""
    facts = {"v1": {"heldout": "v1", "loss": loss, "bits_per_byte": 2.0, "rows": 3, "tokens": 27}}
    if recorded:
        writer = LedgerWriter(directory / "ledger")
        writer.append("start", step, Counters(), format=FORMAT)
        named = {} if form == "raw" else {"form": form}
        writer.append("evaluation", step, Counters(), manifest_sha256="0" * 64, **facts["v1"], **named)
        writer.close()
    metrics = MetricsWriter(directory / "metrics.jsonl")
    metrics.write_heldout(HeldoutMetrics.of(step, 10 * step, form, facts))
    metrics.close()


def fault(file: Path) -> str | None:
    return metrics_fault(file, file.parent / "ledger")


def test_kills_and_repeated_steps_are_no_faults(file: Path) -> None:
    assert fault(file) is None
    assert metrics_faults(file.parent.parent) == ()


@pytest.mark.parametrize("unrecorded", [1, 2, 5])
def test_equal_steps_trained_again_after_a_failed_ledger_are_no_faults(unrecorded: int, tmp_path: Path) -> None:
    """As after a full disk: several steps are in the metrics of an attempt, not in its ledger, and repeated bitwise."""
    train(tmp_path / "main", 0, 20, unrecorded=unrecorded, same=True)
    train(tmp_path / "main", 20 - unrecorded, LOGGED, same=True)
    assert fault(tmp_path / "main" / "metrics.jsonl") is None


def test_a_torn_last_line_is_no_fault_if_its_heartbeat_is_missing_too(file: Path) -> None:
    with open(file, "ab") as lines:
        lines.write(b'{"step": 31, "tok')
    assert fault(file) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_changed_loss_is_named_with_its_line(file: Path, seed: int) -> None:
    lines = file.read_bytes().splitlines()
    changed = random.Random(seed).randrange(len(lines) - 16)
    lines[changed] = json.dumps({**json.loads(lines[changed]), "loss": 9.25}).encode()
    file.write_bytes(b"\n".join(lines) + b"\n")
    assert f"{file}:{changed + 1}: the ledger has no step" in str(fault(file))
    assert "1 logged steps of the ledger have no whole line" in str(fault(file))


@pytest.mark.parametrize(
    "damage",
    [b"\xff\xfe", b"5", b"[1]", b"null", b"{}", b'{"step": 3}', b"\0" * 40, b'{"step": NaN', b"[" * 100_000],
)
@pytest.mark.parametrize("number", [1, 7, 34])
def test_a_damaged_line_is_named_and_ends_nothing(file: Path, damage: bytes, number: int) -> None:
    lines = file.read_bytes().splitlines()
    lines[number - 1] = damage
    file.write_bytes(b"\n".join(lines) + b"\n")
    assert f"{file}:{number}: no metrics of a step" in str(fault(file))


def test_lines_cut_out_and_files_removed_are_found(file: Path) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join((*lines[:5], *lines[9:])))
    assert str(fault(file)).startswith(f"{file}: 4 logged steps")
    file.unlink()
    (found,) = metrics_faults(file.parent.parent)
    assert "restore it from a copy" in found


def test_lines_put_in_are_found(file: Path) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join((*lines[:8], lines[3].replace(b'"step": 4', b'"step": 99'), *lines[8:])))
    assert f"{file}:9: the ledger has no step 99" in str(fault(file))


def test_heldout_losses_are_compared_with_the_evaluations_of_the_ledger(file: Path) -> None:
    before = read_metrics(file)
    evaluate(file.parent, 20, 2.5)
    evaluate(file.parent, 20, 2.25, form="ema")
    assert fault(file) is None
    assert read_metrics(file) == before, "training losses are read as before"
    assert RecentMetrics().refreshed(file).newest == tuple(before)
    evaluate(file.parent, 20, 2.25, recorded=False)
    count = len(file.read_bytes().splitlines())
    assert fault(file) == f"{file}:{count}: the ledger has no such evaluation of step 20 on v1"


def test_a_line_of_heldout_losses_is_read_back_and_a_damaged_one_is_none(file: Path) -> None:
    evaluate(file.parent, 20, 0.1 + 0.2)
    line = file.read_bytes().splitlines(keepends=True)[-1]
    found = parse_heldout(line)
    assert found is not None
    assert found.evaluated == {(20, "v1", "raw", 0.1 + 0.2)}
    assert found.to_line() == line
    for damaged in (line[:-1], line[:-9] + b"\n", b'{"heldout": {}}\n', b'{"heldout": 3, "step": 1}\n', b"[]\n"):
        assert parse_heldout(damaged) is None
    file.write_bytes(file.read_bytes()[:-9] + b"\n")
    assert "no metrics of a step" in str(fault(file))
