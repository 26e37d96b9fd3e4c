"""What tools/forgetting.py makes of reports: gaps seed by seed, a table, a picture."""

from __future__ import annotations

import statistics
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.values import load_tool

tool = load_tool("forgetting")


def report(ptfs: list[list[float]], other: list[list[float | None]]) -> dict[str, Any]:
    """Two versions; losses[k] = those of version k + 1 on its held-out sets."""

    def releases(losses: list[list[float]] | list[list[float | None]]) -> list[dict[str, Any]]:
        return [
            {
                "heldout": {f"v{j}": {"loss": loss} for j, loss in enumerate(row, 1)},
                "seen_loss": None if None in row else statistics.fmean(row[: k + 1]),
            }
            for k, row in enumerate(losses)
        ]

    paradigms = {
        "ptfs": {"ratio_to_ptfs": 1.0, "releases": releases(ptfs)},
        "cpt": {"ratio_to_ptfs": 0.4, "releases": releases(other)},
    }
    return {"versions": [{"name": "v1"}, {"name": "v2"}], "paradigms": paradigms}


REPORTS = [
    report([[2.0, 9.0], [1.0, 3.0]], [[2.0, 9.0], [2.0, 2.2]]),
    report([[2.2, 9.0], [2.0, 2.0]], [[2.2, 9.0], [3.0, 1.8]]),
]


def test_gaps_are_of_the_same_seed() -> None:
    ptfs, cpt = tool.results_of(REPORTS)
    assert (ptfs.final, cpt.final) == ([2.0, 2.0], [2.1, 2.4])
    assert cpt.gaps(ptfs) == pytest.approx([0.05, 0.2])
    assert cpt.gaps(ptfs, "v1") == [0.0, 0.0]
    assert cpt.last == {"v1": [2.0, 3.0], "v2": [2.2, 1.8]}


def test_the_table() -> None:
    ptfs, cpt = tool.results_of(REPORTS)
    *_, line = tool.markdown([ptfs, cpt], ptfs).splitlines()
    assert line == "| cpt | 40% | 2.2500 ± 0.2121 | +12.50% (+5.00% to +20.00%) | 2.5000 | 2.0000 |"


def test_a_paradigm_that_one_seed_lacks_is_left_out() -> None:
    unfinished = report([[2.0, 9.0], [1.0, 3.0]], [[2.0, 9.0], [2.0, None]])
    assert [result.name for result in tool.results_of([REPORTS[0], unfinished])] == ["ptfs"]


@given(st.lists(st.tuples(*[st.floats(0.5, 9)] * 4), min_size=1, max_size=4))
def test_a_picture_has_a_marker_a_seed_and_all_of_them_inside(losses: list[tuple[float, ...]]) -> None:
    results = tool.results_of([report([[1.0, 1.0], [a, b]], [[1.0, 1.0], [c, d]]) for a, b, c, d in losses])
    drawn = tool.drawing(results, results[0])
    root = ElementTree.fromstring(drawn.inline())
    marks = [mark for group in root.findall("g") for mark in group]
    assert len(marks) == 2 * len(losses)
    strokes = [path.get("d", "") for path in root.findall("path")]
    places = [float(stroke[1:].split()[0]) for stroke in strokes]
    assert all(tool.LEFT <= place <= tool.RIGHT for place in places)
