"""The lineage tree: every path once, forks where they are, what is shared is said."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from lrps.costs.comparison import make_comparison
from lrps.report.figures.lineage import lineage_tree


def drawn(plan: Any) -> ElementTree.Element:
    ((_, drawing),) = lineage_tree(make_comparison(plan)).panels
    return ElementTree.fromstring(drawing.inline())


def texts(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter("text")]


def rows(root: ElementTree.Element, plan: Any) -> dict[str, float]:
    """Path -> height of its row."""
    names = {path.name for path in plan.graph.paths}
    return {t.text or "": float(t.get("y", "")) - 3.8 for t in root.iter("text") if t.text in names}


def spans(root: ElementTree.Element, y: float) -> list[tuple[float, float, bool]]:
    """(from, to, still to do) of the lines in a row."""
    found = []
    for path in root.iter("path"):
        if "track" in path.get("class", "").split():
            x, at, end = map(float, re.findall(r"[\d.]+", path.get("d", "")))
            if at == pytest.approx(y, abs=0.06):
                found.append((x, end, "to-do" in path.get("class", "")))
    return found


def test_every_path_is_one_row(trained: Any) -> None:
    root = drawn(trained)
    names = [path.name for path in trained.graph.paths]
    found = texts(root)
    assert [found.count(name) for name in names] == [1] * len(names)
    assert len(set(rows(root, trained).values())) == len(names)
    assert all(len(spans(root, y)) == 1 for y in rows(root, trained).values())


def test_what_paradigms_share_is_said_and_stands_under_the_first(trained: Any) -> None:
    root = drawn(trained)
    assert "shares ptfs-v1, drawn above" in texts(root)
    heads = {t.text: float(t.get("y", "")) for t in root.iter("text") if "group" in t.get("class", "")}
    assert list(heads) == ["path-switching", "ptfs", "cpt"]
    height = rows(root, trained)
    assert heads["ptfs"] < height["ptfs-v1"] < heads["cpt"] < height["cpt-v2"]
    assert "trained once and drawn once" in lineage_tree(make_comparison(trained)).caption


def test_nothing_is_said_of_sharing_where_nothing_is_shared(make: Any) -> None:
    figure = lineage_tree(make_comparison(make(paradigms={"path-switching": {}})))
    assert "drawn once" not in figure.caption


def test_a_branch_hangs_from_its_branch_point(trained: Any) -> None:
    root = drawn(trained)
    height = rows(root, trained)
    rings = [c for c in root.iter("circle") if "hollow" in c.get("class", "")]
    assert [float(ring.get("cy", "")) for ring in rings] == [pytest.approx(height["main"], abs=0.06)] * 4
    ((start, _, _),) = spans(root, height["branch-v3"])
    (ring,) = (r for r in rings if "branch-v3" in (r.find("title").text or ""))  # type: ignore[union-attr]
    assert float(ring.get("cx", "")) == pytest.approx(start, abs=0.11)
    forks = [p.get("d", "") for p in root.iter("path") if "leader" in p.get("class", "")]
    ways = [tuple(map(float, re.findall(r"[\d.]+", way))) for way in forks]
    assert (
        pytest.approx(start, abs=0.11),
        pytest.approx(height["main"], abs=0.1),
        pytest.approx(height["branch-v3"], abs=0.1),
    ) in ways
    assert len(ways) == 4 + 2, "cpt-v2 starts from a path of another group"


def test_steps_are_to_scale(trained: Any) -> None:
    root = drawn(trained)
    height = rows(root, trained)
    ((start, stop, _),) = spans(root, height["ptfs-v4"])
    ((fork, end, _),) = spans(root, height["branch-v2"])
    scale = (stop - start) / 2000
    assert ((fork - start) / scale, (end - start) / scale) == pytest.approx((700, 1000), abs=1)


def test_what_is_still_to_do_is_dashed(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1"], stop_at={"main": 700})
    root = drawn(plan)
    height = rows(root, plan)
    (done, rest) = spans(root, height["main"])
    assert (done[2], rest[2]) == (False, True)
    assert (rest[0] - done[0]) / (rest[1] - done[0]) == pytest.approx(700 / 1700, abs=0.01)
    assert [span[2] for span in spans(root, height["branch-v1"])] == [False]
    assert [span[2] for span in spans(root, height["ptfs-v2"])] == [True]


def test_its_description_tells_every_path(trained: Any) -> None:
    ((_, drawing),) = lineage_tree(make_comparison(trained)).panels
    assert "branch-v3 from main at step 1,200 to 1,500, complete, releases v3" in drawing.description
    assert "ptfs-v1 from the initial weights, step 0 to 500, complete, releases v1" in drawing.description


def test_a_paradigm_that_shares_all_paths_keeps_its_heading(make: Any) -> None:
    same = {"kind": "path-switching", "alpha": 0.6}
    found = texts(drawn(make(versions=2, paradigms={"one": same, "other": same})))
    assert "other" in found
    assert "shares one-main, one-v1, one-v2, drawn above" in found
