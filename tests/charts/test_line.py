"""Line charts: well-formed drawings whose series differ without colour."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from lrps.charts.axes import names_axis, number_axis
from lrps.charts.line import Chart, Mark, Series
from lrps.charts.svg import STYLE, marker


def chart(names_at_end: bool = True) -> Chart:
    series = tuple(
        Series(slot, (((0.0, 1.0), (1.0, float(slot))),), (Mark((1.0, float(slot)), "end"),), f"name {slot}")
        for slot in range(10)
    )
    y = number_axis("y", range(10))
    return Chart("A & B", "what <it> is", names_axis("v", ["a", "b"]), y, series, names_at_end=names_at_end)


@pytest.mark.parametrize("names_at_end", [True, False])
def test_a_drawing_is_well_formed_and_described(names_at_end: bool) -> None:
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
