"""Where device time went: lengths to scale, patterns that tell uses apart, the goodput at the end."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from lrps.costs.comparison import Comparison, make_comparison
from lrps.ledger.totals import Totals
from lrps.report.figures.goodput import USES, goodput


def drawn(comparison: Comparison) -> ElementTree.Element:
    figure = goodput(comparison)
    assert figure is not None
    ((_, drawing),) = figure.panels
    return ElementTree.fromstring(drawing.inline())


def texts(root: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in root.iter("text")]


def parts(root: ElementTree.Element) -> list[tuple[str, float, str]]:
    """(words, length, fill) of the parts of the bars."""
    rects = [rect for group in root.iter("g") for rect in group.iter("rect")]
    return [
        (rect.find("title").text or "", float(rect.get("width", "")), rect.get("fill", ""))
        for rect in rects  # type: ignore[union-attr]
    ]


def test_lengths_are_device_hours(trained: Any) -> None:
    comparison = make_comparison(trained)
    root = drawn(comparison)
    ticks = {t.text: float(t.get("x", "")) for t in root.iter("text") if t.text in ("0", "0.02", "0.06")}
    scale = (ticks["0.06"] - ticks["0"]) / 0.06
    for name, paradigm in comparison.paradigms.items():
        spent = [hours for hours in paradigm.measured.device_hours_by_use.values() if hours]
        lengths = [length for words, length, _ in parts(root) if words.startswith(f"{name},")]
        assert lengths == [pytest.approx(hours * scale, abs=0.1) for hours in spent]
    (lost,) = (length for words, length, _ in parts(root) if "cpt, repeating after failure" in words)
    assert lost == pytest.approx(150 * 0.036 / 3600 * scale, abs=0.1)


def test_the_goodput_stands_at_the_end(trained: Any) -> None:
    comparison = make_comparison(trained)
    shares = [f"{paradigm.measured.goodput:.1%}" for paradigm in comparison.paradigms.values()]
    assert [text for text in texts(drawn(comparison)) if text.endswith("%")] == shares


def test_uses_differ_without_colour_and_only_those_that_occur_are_explained(trained: Any) -> None:
    assert len(set(USES.values())) == len(USES)
    root = drawn(make_comparison(trained))
    key = [text for text in texts(root) if text in USES]
    assert key == ["training", "saving", "starting", "repeating after failure"]
    defined = {f"url(#{pattern.get('id')})" for pattern in root.iter("pattern")}
    assert {fill for _, _, fill in parts(root)} == defined | {""}, "training is solid"


def test_every_use_that_a_ledger_knows_is_drawn() -> None:
    causes = dict.fromkeys(("kill", "failure", "damage", "doubt", "rewind"), 1.0)
    totals = Totals(abandoned_seconds=1.0, skipped_seconds=1.0, repeating_by_cause=causes)
    assert set(totals.uses) == set(USES)


def test_one_paradigm_has_a_bar_a_path(make: Any, formulas: Any) -> None:
    plan = make(versions=2, steps=100, paradigms={"path-switching": {}})
    formulas.Run(plan).train(["main", "branch-v1"])
    found = texts(drawn(make_comparison(plan)))
    assert [text for text in found if text in plan.graph.by_name] == ["main", "branch-v1"]


def test_nothing_is_drawn_before_training(make: Any) -> None:
    assert goodput(make_comparison(make())) is None
