"""The local metrics file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lrps.ledger.metrics import KEPT, Metrics, MetricsWriter, RecentMetrics, read_metrics, rewound_to

POINT = Metrics(step=10, tokens=160, loss=2.5, lr=1e-3, grad_norm=None, tokens_per_second=9.0)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path / "new" / "metrics.jsonl")
    points = [replace(POINT, step=step, grad_norm=step / 3) for step in (10, 20, 30)]
    for point in points:
        writer.write(point)
    assert read_metrics(tmp_path / "new" / "metrics.jsonl") == points, "readable while the writer is open"
    writer.close()


def test_a_repeated_step_counts_once_and_a_torn_line_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    for losses in ({10: 2.0, 20: 1.5}, {20: 1.25, 30: 1.0}):
        writer = MetricsWriter(file)
        for step, loss in losses.items():
            writer.write(replace(POINT, step=step, loss=loss))
        writer.close()
    file.write_text(file.read_text() + '{"step": 40, "to')
    assert [(m.step, m.loss) for m in read_metrics(file)] == [(10, 2.0), (20, 1.25), (30, 1.0)]
    resumed = MetricsWriter(file)
    resumed.write(replace(POINT, step=40, loss=0.5))
    resumed.close()
    assert [m.step for m in read_metrics(file)] == [10, 20, 30, 40], "a torn line does not swallow the next one"


def test_no_file_is_no_metrics(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


# The newest logged steps


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


# Rewinds


def test_lines_that_a_rewind_abandoned_count_no_more_also_between_new_ones(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    write(file, *range(1, 13))
    recent = RecentMetrics().refreshed(file)
    writer = MetricsWriter(file)
    writer.rewind(4)
    writer.close()
    assert [m.step for m in read_metrics(file)] == [1, 2, 3, 4]
    assert [m.step for m in recent.refreshed(file).newest] == [1, 2, 3, 4]
    write(file, 6, 9)
    for newest in (read_metrics(file), recent.refreshed(file).newest, RecentMetrics().refreshed(file).newest):
        assert [m.step for m in newest] == [1, 2, 3, 4, 6, 9]


def test_a_line_about_a_rewind_is_no_metrics_and_has_one_key() -> None:
    assert rewound_to(b'{"rewound_to": 40}') == 40
    for line in (b'{"rewound_to": "40"}', b'{"rewound_to": 40, "step": 3}', b'{"rewound_to": 4', b'{"step": 4}', b"[]"):
        assert rewound_to(line) is None
