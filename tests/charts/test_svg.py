"""The drawing tools: ticks, labels that fit and do not collide, lines without needless points."""

from __future__ import annotations

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lrps.charts.axes import names_axis, number_axis
from lrps.charts.heatmap import Heatmap
from lrps.charts.line import Chart, Mark, Series
from lrps.charts.svg import STYLE, Drawing, element, fitted, marker, simplified, spread, text_width

FINITE = st.floats(-1e15, 1e15, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-9)


@given(st.lists(FINITE, min_size=1, max_size=5), st.booleans())
@example([273794555155953.03, 273794555155953.0], False)
def test_ticks_read_differently_and_lie_inside(values: list[float], whole: bool) -> None:
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


def chart(names_at_end: bool = True) -> Chart:
    series = tuple(
        Series(slot, (((0.0, 1.0), (1.0, float(slot))),), (Mark((1.0, float(slot)), "end"),), f"name {slot}")
        for slot in range(10)
    )
    y = number_axis("y", range(10))
    return Chart("A & B", "what <it> is", names_axis("v", ["a", "b"]), y, series, names_at_end=names_at_end)


@pytest.mark.parametrize("names_at_end", [True, False])
def test_a_drawing_is_well_formed_and_says_what_it_is(names_at_end: bool) -> None:
    drawing = chart(names_at_end).draw()
    root = ElementTree.fromstring(drawing.standalone())
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title").text == "A & B"  # type: ignore[union-attr]
    assert root.find(f"{space}desc").text == "what <it> is"  # type: ignore[union-attr]
    assert root.find(f"{space}style").text == STYLE  # type: ignore[union-attr]
    texts = [text.text for text in root.iter(f"{space}text")]
    assert [f"name {slot}" for slot in range(10)] == [text for text in texts if text.startswith("name")]
    assert "xmlns" not in drawing.inline()


def test_series_differ_without_colour() -> None:
    shapes = {marker(0, 0, slot, "") for slot in range(8)}
    assert len(shapes) == 8
    body = chart().draw().body
    assert all(f'class="line s{slot} d{slot}"' in body for slot in range(1, 8))


def test_heat_is_darker_where_the_value_is_higher() -> None:
    values = {("v1", "v1"): 1.0, ("v2", "v1"): 2.0, ("v2", "v2"): 3.0}
    drawing = Heatmap("t", "d", ["v1", "v2"], ["v1", "v2"], values, dict.fromkeys(["v1", "v2"], (1.0, 3.0)), 0).draw()
    root = ElementTree.fromstring(drawing.standalone())
    cells = [r for r in root.iter() if r.tag.endswith("rect") and "cell" in r.get("class", "")]
    opacities = [float(cell.get("fill-opacity", "")) for cell in cells]
    assert opacities == sorted(opacities)
    assert opacities[0] < opacities[1] < opacities[2]
    assert [text.text for text in root.iter() if text.tag.endswith("text")][-3:] == ["1.000", "2.000", "3.000"]


def test_a_drawing_names_its_size() -> None:
    assert '<svg class="chart" role="img" viewBox="0 0 10 20.5">' in Drawing("t", "d", 10, 20.5, "").inline()
