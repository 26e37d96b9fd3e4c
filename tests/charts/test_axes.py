"""Axes: ticks with different labels, inside the range."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lrps.charts.axes import names_axis, number_axis

FINITE = st.floats(-1e15, 1e15, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-9)


@given(st.lists(FINITE, min_size=1, max_size=5), st.booleans())
@example([273794555155953.03, 273794555155953.0], False)
def test_ticks_have_different_labels_inside_the_range(values: list[float], whole: bool) -> None:
    axis = number_axis("x", values, whole=whole)
    texts = [text for _, text in axis.ticks]
    assert len(set(texts)) == len(texts)
    assert all(-1e-9 <= axis.share(tick) <= 1 + 1e-9 for tick, _ in axis.ticks)
    assert all(axis.low <= value <= axis.high for value in values)
    if whole:
        assert all(tick == round(tick) for tick, _ in axis.ticks)


@pytest.mark.parametrize(
    ("values", "texts", "label"),
    [
        ([2000], ["0", "500", "1,000", "1,500", "2,000"], "x"),
        ([2_000_000], ["0", "0.5M", "1.0M", "1.5M", "2.0M"], "x"),
        ([3e-3], ["0", "1", "2", "3"], "x (×10⁻³)"),
        ([3.0], ["0", "1", "2", "3"], "x"),
    ],
)
def test_ticks_from_zero(values: list[float], texts: list[str], label: str) -> None:
    axis = number_axis("x", values, from_zero=True)
    assert ([text for _, text in axis.ticks], axis.label) == (texts, label)


def test_small_counts_get_whole_ticks() -> None:
    assert [text for _, text in number_axis("versions", [1, 2], whole=True).ticks] == ["1", "2"]


def test_versions_have_a_tick_each_and_none_between() -> None:
    assert names_axis("version", ["v1", "v2", "v3"]).ticks == ((0.0, "v1"), (1.0, "v2"), (2.0, "v3"))
