"""The figure of paired differences: which are drawn together, and how many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lrps.costs.comparison import Comparison, make_comparison
from lrps.costs.curves.heldout_curve import CurvePoint, HeldoutCurve
from lrps.costs.curves.paired_difference import PairedDifference
from lrps.report.figures.paired_chart import paired_differences_figure
from lrps.report.page import render_page
from lrps.report.tables.paired_table import paired_records, paired_table


def difference(released: str, heldout: str, main_step: int, value: float, form: str = "raw") -> PairedDifference:
    path = "main" if form != "raw" else f"branch-{released}"
    return PairedDifference(released, path, 500, main_step, heldout, 30, value, 0.01, form)


@pytest.fixture
def compared(trained: Any) -> Any:
    comparison = make_comparison(trained)

    def compared(*differences: PairedDifference) -> Comparison:
        curve = HeldoutCurve(
            points=(CurvePoint(200, "v1", 2.3, 30),), branch_ends=(), differences=differences, device_hours=0.5
        )
        return replace(comparison, heldout_curves={"main": curve})

    return compared


def test_the_fork_and_the_same_step_have_charts_of_their_own(compared: Any) -> None:
    found = [
        *(difference("v1", "v1", 200, -0.2), difference("v1", "v1", 500, 0.03)),
        difference("v2", "v1", 500, -0.004, "ema"),
    ]
    comparison = compared(*found)
    figure = paired_differences_figure(comparison)
    assert figure is not None
    drawn = {name: drawing.inline() for name, drawing in figure.panels}
    assert list(drawn) == ["paired-main-fork", "paired-main-step"]
    assert "v1 on v1: -0.2000 ± 0.0200" in drawn["paired-main-fork"], "two standard errors"
    assert "v1 on v1: +0.0300 ± 0.0200" in drawn["paired-main-step"]
    assert "v2 (ema) on v1: -0.0040 ± 0.0200" in drawn["paired-main-step"]
    assert "v1 on v1: -0.2" not in drawn["paired-main-step"]
    page = render_page(comparison)
    assert page.index('id="main-curve"') < page.index('id="paired"')
    assert [row[0] for row in paired_table(comparison).texts] == ["v1", "v1", "v2 (ema)"]
    assert [row[-1] for row in paired_records(comparison).rows] == ["raw", "raw", "ema"]


def test_of_many_held_out_sets_each_version_is_drawn_on_its_own(compared: Any) -> None:
    versions = [f"v{k}" for k in range(1, 8)]
    figure = paired_differences_figure(compared(*(difference(i, j, 500, 0.0) for i in versions for j in versions)))
    assert figure is not None
    ((_, drawing),) = figure.panels
    assert "on their own sets" in drawing.title
    drawn = drawing.inline()
    assert all(f"{version} on {version}: +0.0000" in drawn for version in versions)
    assert "v1 on v2" not in drawn


def test_without_a_difference_there_is_no_figure(compared: Any) -> None:
    assert paired_differences_figure(compared()) is None
