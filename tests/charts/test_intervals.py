"""Intervals are drawn where the axis says, with their text and only with a line where there is an uncertainty."""

from __future__ import annotations

import re

import pytest

from lrps.charts.axes import number_axis
from lrps.charts.intervals import Interval, IntervalChart

AXIS = number_axis("difference", [-0.4, 0.4])
ROWS = (
    Interval("v1 <on> v1", 0, -0.2, 0.1, "-0.2000 ± 0.1000"),
    Interval("v2", 1, 0.3, None, "+0.3000"),
)


def chart(*rows: Interval) -> str:
    return IntervalChart("main", "Differences.", AXIS, rows).draw().inline()


def test_the_ends_of_a_line_are_as_far_from_its_mark_as_the_uncertainty() -> None:
    drawn = chart(*ROWS)
    (line,) = re.findall(r'<path d="M([\d.]+) ([\d.]+)H([\d.]+)M[^"]*" class="line"', drawn)
    low, y, high = map(float, line)
    zero, end = (float(x) for x in re.findall(r'<path d="M([\d.]+) \S+?V\S+" class="(?:axis|grid)"', drawn)[2:4])
    per_unit = (end - zero) / 0.2
    assert (low - zero, high - zero) == (
        pytest.approx(-0.3 * per_unit, abs=0.2),
        pytest.approx(-0.1 * per_unit, abs=0.2),
    )
    mark = re.search(r'<circle[^>]*cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert mark
    assert (float(mark[1]), float(mark[2])) == (pytest.approx((low + high) / 2, abs=0.2), y)


def test_zero_has_a_strong_line_and_texts_are_escaped() -> None:
    drawn = chart(*ROWS)
    assert len(re.findall(r'V[\d.]+" class="axis"', drawn)) == 1
    assert "v1 &lt;on&gt; v1: -0.2000 ± 0.1000" in drawn
    assert "<on>" not in drawn


def test_a_row_without_uncertainty_has_a_mark_and_no_line() -> None:
    assert 'class="line"' not in chart(ROWS[1])
    assert "+0.3000" in chart(ROWS[1])
