"""The newest logged steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lrps.ledger.metrics import Metrics, MetricsWriter, read_metrics
from lrps.ledger.recent import KEPT, RecentMetrics

POINT = Metrics(step=10, tokens=160, loss=2.5, lr=1e-3, grad_norm=None, tokens_per_second=9.0)


def write(file: Path, *steps: int) -> None:
    writer = MetricsWriter(file)
    for step in steps:
        writer.write(replace(POINT, step=step, loss=step / 7))
    writer.close()


def test_the_last_ones_of_a_long_file(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, *range(1, 2000))
    recent = RecentMetrics().refreshed(file)
    assert list(recent.newest) == read_metrics(file)[-KEPT:]
    write(file, 2000, 2001)
    recent = recent.refreshed(file)
    assert [metrics.step for metrics in recent.newest] == list(range(2002 - KEPT, 2002))
    assert recent.refreshed(file) == recent


def test_a_path_that_goes_on_from_before_has_lost_what_came_after(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, 10, 20, 30, 40)
    recent = RecentMetrics().refreshed(file)
    write(file, 30)
    assert [metrics.step for metrics in recent.refreshed(file).newest] == [10, 20, 30]


@pytest.mark.parametrize("line", ['{"step": 20, "to', "17", '{"step": 20}', "\0\0\0", "", '{"step": NaN}'])
def test_a_line_that_is_no_metrics_is_left_out(tmp_path: Path, line: str) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, 10)
    file.write_text(file.read_text() + line + "\n")
    write(file, 30)
    assert [metrics.step for metrics in RecentMetrics().refreshed(file).newest] == [10, 30]


def test_a_loss_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path / "metrics.jsonl")
    writer.write(replace(POINT, loss=float("nan")))
    assert RecentMetrics().refreshed(tmp_path / "metrics.jsonl").newest == ()
    assert RecentMetrics().refreshed(tmp_path / "nowhere").newest == ()
