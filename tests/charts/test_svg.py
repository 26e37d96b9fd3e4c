"""Elements of drawings: labels that fit and do not overlap, and lines without needless points."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lrps.charts.svg import Drawing, element, fitted, marker, simplified, spread, text_width


@given(st.lists(st.floats(0, 200), min_size=1, max_size=12))
def test_spread_labels_keep_order_and_distance(wanted: list[float]) -> None:
    places = spread(wanted, 13, 0, 200)
    ordered = [places[i] for i in sorted(range(len(wanted)), key=lambda i: wanted[i])]
    assert all(b - a >= 13 - 1e-6 for a, b in pairwise(ordered))
    assert -1e-6 <= ordered[0] <= ordered[-1] <= 200 + 1e-6


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([50.0, 10.0, 90.0], 13, 0, 100) == [50.0, 10.0, 90.0]


def test_a_straight_line_keeps_two_points_and_a_corner_stays() -> None:
    line = [(float(x), 2.0 * x) for x in range(50)]
    assert simplified(line) == [line[0], line[-1]]
    assert simplified([*line, (60.0, 0.0)]) == [line[0], line[-1], (60.0, 0.0)]


def test_a_curve_stays_within_the_tolerance() -> None:
    curve = [(x / 2, 100 * math.cos(x / 60)) for x in range(400)]
    kept = simplified(curve, 0.1)
    assert 10 < len(kept) < 100
    for x, y in curve:
        (ax, ay), (bx, by) = next((a, b) for a, b in pairwise(kept) if a[0] <= x <= b[0])
        assert abs(y - (ay + (by - ay) * (x - ax) / (bx - ax))) < 0.1 * 3.5, (
            "across the line; upwards it is more where the line is steep"
        )


def test_long_text_is_cut() -> None:
    assert fitted("short", 100) == "short"
    cut = fitted("a-name-that-is-much-too-long", 60)
    assert cut.endswith("…")
    assert text_width(cut) <= 60


def test_text_is_escaped() -> None:
    assert "<b>" not in marker(0, 0, 0, "<b>")
    assert element("a", class_='"') == '<a class="&quot;"/>'


def test_a_drawing_names_its_size() -> None:
    assert '<svg class="chart" role="img" viewBox="0 0 10 20.5">' in Drawing("t", "d", 10, 20.5, "").inline()
