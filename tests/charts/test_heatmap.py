"""Heat maps: shades and numbers of the cells."""

from __future__ import annotations

from xml.etree import ElementTree

from lrps.charts.heatmap import Heatmap


def test_heat_is_darker_where_the_value_is_higher() -> None:
    values = {("v1", "v1"): 1.0, ("v2", "v1"): 2.0, ("v2", "v2"): 3.0}
    drawing = Heatmap("t", "d", ["v1", "v2"], ["v1", "v2"], values, dict.fromkeys(["v1", "v2"], (1.0, 3.0)), 0).draw()
    root = ElementTree.fromstring(drawing.standalone())
    cells = [r for r in root.iter() if r.tag.endswith("rect") and "cell" in r.get("class", "")]
    opacities = [float(cell.get("fill-opacity", "")) for cell in cells]
    assert opacities == sorted(opacities)
    assert opacities[0] < opacities[1] < opacities[2]
    assert [text.text for text in root.iter() if text.tag.endswith("text")][-3:] == ["1.000", "2.000", "3.000"]
