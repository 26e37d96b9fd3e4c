"""The comparison of the paradigms on a terminal: before training, half-way and at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from lrps.base.numbers import device_time
from lrps.costs.comparison import make_comparison
from lrps.report.comparison_text import paradigms_table, print_comparison
from lrps.report.table import Table
from lrps.report.tags import RATIOS, START_UP


def row_of(table: Table, name: str) -> dict[str, str]:
    """Return the cells of a paradigm by the title of their column."""
    row: Sequence[str] = next(texts for texts in table.texts if texts[0] == name)
    return dict(zip(table.titles, row, strict=True))


def test_a_finished_run(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = make_comparison(trained)
    assert row_of(paradigms_table(comparison), "path-switching") == {
        "paradigm": "path-switching",
        "steps": "2,900",
        "steps, % of PTFS": "58.0%",
        "steps, % of CPT": "145.0%",
        "allocated device time": "2.74 min",
        "measured EUR": "0.0913",
        "training time, % of PTFS": "58.0%",
        "allocated, % of PTFS": "72.1%",
        "repeated steps": "0",
        "held-out loss of v4": "2.1610",
    }
    assert row_of(paradigms_table(comparison), "cpt")["repeated steps"] == "150"
    print_comparison(comparison)
    text = capsys.readouterr().out
    said = " ".join(text.split())
    assert RATIOS in said
    assert START_UP in said
    assert "~" not in text
    assert "one seed" in text
    assert "Everything is trained and evaluated." in text
    assert "n/a" not in text


def test_before_anything_was_trained(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = make_comparison(make())
    assert list(row_of(paradigms_table(comparison), "path-switching").values()) == [
        "path-switching",
        *("2,900", "58.0%", "145.0%"),
        *("n/a", "n/a", "n/a", "n/a"),
        "n/a",  # what all of it would cost: no hardware
        "n/a",
    ]
    print_comparison(comparison)
    text = " ".join(capsys.readouterr().out.split())
    assert "No cost has been measured yet" in text
    assert "9,400 steps of 12 paths (`lrps run CONFIG`)" in text
    assert "`lrps data build CONFIG`" in text, "the config names no shards"
    assert "one seed" not in text


def test_half_way(make: Any, formulas: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1"], stop_at={"main": 900})
    comparison = make_comparison(plan)
    row = row_of(paradigms_table(comparison), "path-switching")
    a_step = (1200 * 0.036 + 2 * 12) / 1200
    assert row["allocated device time"] == "1.12 min so far"
    assert row["total device time"] == device_time((1200 * 0.036 + 2 * 12 + 1700 * a_step) / 3600) + "~"
    print_comparison(comparison)
    text = " ".join(capsys.readouterr().out.split())
    assert "is spent so far, for 1,200 of 2,900 steps" in text
    assert "~ modelled, in whole or in part" in text
    assert "8,200 steps of 11 paths" in text
