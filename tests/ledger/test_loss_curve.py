"""Training losses, thinned while they are read."""

from __future__ import annotations

import random
from dataclasses import replace
from math import isclose, isfinite, nan
from pathlib import Path

import pytest

from lrps.ledger import loss_curve
from lrps.ledger.heldout_metrics import HeldoutMetrics
from lrps.ledger.loss_curve import MOST_POINTS, read_losses
from lrps.ledger.metrics import Metrics, MetricsWriter, RecentMetrics, read_metrics

POINT = Metrics(step=1, tokens=160, loss=2.5, lr=1e-3, grad_norm=None, tokens_per_second=9.0)


def write(file: Path, *points: tuple[int, float]) -> None:
    writer = MetricsWriter(file)
    for step, loss in points:
        writer.write(replace(POINT, step=step, tokens=step * 16, loss=loss, grad_norm=loss / 3 if step % 2 else None))
    writer.close()


def rewind(file: Path, step: int) -> None:
    writer = MetricsWriter(file)
    writer.rewind(step)
    writer.close()


def write_heldout(file: Path, step: int) -> None:
    writer = MetricsWriter(file)
    writer.write_heldout(
        HeldoutMetrics({"v1": {"loss": 1e-9, "bits_per_byte": 2.0, "rows": 3}}, step, 16 * step, "raw")
    )
    writer.close()


def attempts(file: Path, chance: random.Random, most: int) -> None:
    """Write some attempts, each from a step that the one before may have passed, some with damaged lines."""
    step = 0
    for _ in range(chance.randrange(1, 5)):
        interval = chance.choice((1, 1, 3, 10))
        step = max(0, step - chance.randrange(40))
        for _ in range(chance.randrange(1, most)):
            step += interval if chance.random() < 0.99 else 2 * interval
            write(file, (step, nan if chance.random() < 0.01 else chance.choice((1e-7, 3.0, 40.0)) * chance.random()))
            if chance.random() < 0.1:
                write_heldout(file, step)
        if chance.random() < 0.3:
            step = chance.randrange(step + 1)
            rewind(file, step)
        if chance.random() < 0.5:
            with open(file, "ab") as lines:
                lines.write(chance.choice((b'{"step": 3, "tok', b'{"step": 007}\n', b"\xff\n", b"\n", b"[]\n", b"{}")))


@pytest.mark.parametrize("seed", range(24))
def test_few_losses_are_all_kept_and_of_many_the_first_last_lowest_and_highest(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, file = random.Random(seed), tmp_path / "metrics.jsonl"
    monkeypatch.setattr(loss_curve, "_PIECE_BYTES", chance.choice((300, 5000, 2**20)))
    monkeypatch.setattr(loss_curve, "MOST_POINTS", most := chance.choice((8, 50, 1000)))
    attempts(file, chance, 200)
    full = [(metrics.step, metrics.loss) for metrics in read_metrics(file) if isfinite(metrics.loss)]
    curve = read_losses(file)
    if len(full) <= most:
        assert curve.points == tuple(full)
        assert curve.means == ()
        return
    assert set(curve.points) <= set(full)
    assert list(curve.points) == sorted(curve.points)
    assert len(curve.points) <= 4 * (most + 1)
    losses, kept = [loss for _, loss in full], [loss for _, loss in curve.points]
    assert (curve.points[0], curve.points[-1]) == (full[0], full[-1])
    assert (min(kept), max(kept)) == (min(losses), max(losses))
    assert sum(mean.number for mean in curve.means) == len(full)
    assert isclose(sum(mean.loss * mean.number for mean in curve.means), sum(losses))


def test_just_as_many_losses_as_are_kept_are_not_thinned(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, *((step, 1 / step) for step in range(1, MOST_POINTS + 1)))
    assert len(read_losses(file).points) == MOST_POINTS
    assert read_losses(file).means == ()
    write(file, (MOST_POINTS + 1, 0.5))
    assert read_losses(file).means


def test_no_file_is_no_losses(tmp_path: Path) -> None:
    assert read_losses(tmp_path / "metrics.jsonl").points == ()


def test_resuming_and_following_read_the_end_of_the_file_only(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    with open(file, "wb") as sparse:  # A terabyte: whoever reads it all does not finish.
        sparse.truncate(2**40)
        sparse.seek(0, 2)
        sparse.write(b"\n")
    write(file, (7, 2.5))
    assert [metrics.step for metrics in RecentMetrics().refreshed(file).newest] == [7]
    assert file.stat().st_size > 2**40
