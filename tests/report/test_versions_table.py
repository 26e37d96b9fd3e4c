"""What versions cost, as people and as spreadsheets read it."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from lrps.costs.comparison import comparison_document
from lrps.report.tags import legend, tag, tagged
from lrps.report.totals_table import as_csv, as_markdown, versions_as_csv, versions_as_latex
from lrps.report.versions_table import UNRELEASED, shown


def test_a_finished_run(trained: Any) -> None:
    head, rows = shown(comparison_document(trained))
    assert head[:5] == ["paradigm", "version", "steps, marginal", "steps, shared", "steps, lineage"]
    assert head[5:] == [
        f"{unit}, {key}"
        for unit in ("device-hours", "training-hours", "EUR")
        for key in ("marginal", "shared", "lineage")
    ]
    found = {(row[0], row[1]): row[2:] for row in rows}
    assert found["path-switching", "v2"] == [
        *("800", "516.7", "1,000"),
        *("0.0113", "0.00919", "0.0161"),
        *("0.008", "0.00517", "0.01"),
        *("0.0227", "0.0184", "0.0322"),
    ]
    assert found["cpt", "v3"] == [
        *("500", "541.7", "1,500"),
        *("0.0132", "0.0114", "0.0298"),
        *("0.0065", "0.00617", "0.0165"),
        *("0.0263", "0.0229", "0.0597"),
    ]


def test_marks_stand_where_something_is_modelled(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1", "ptfs-v1"], stop_at={"main": 700})
    document = comparison_document(plan)
    _, rows = shown(document)
    found = {(row[0], row[1]): row[5:8] for row in rows}
    assert not any("~" in cell for cell in found["path-switching", "v1"] + found["cpt", "v1"])
    assert all(cell.endswith("~") for cell in found["path-switching", "v2"] + found["ptfs", "v4"])
    markdown = as_markdown(document)
    assert "~ modelled, in whole or in part, from" in markdown
    assert "| modelled |" in markdown
    assert r"\textasciitilde{}" in versions_as_latex(document)
    totals = list(csv.DictReader(io.StringIO(as_csv(document))))
    assert [row["total_basis"] for row in totals] == ["modelled"] * 3
    assert [row["total_energy_kwh"] for row in totals] == ["n/a"] * 3


def test_csv_is_exact_and_adds_up(trained: Any) -> None:
    document = comparison_document(trained)
    rows = list(csv.DictReader(io.StringIO(versions_as_csv(document))))
    assert len(rows) == 3 * 4 * 3
    assert {row["basis"] for row in rows} == {"measured"}
    for name, paradigm in document["paradigms"].items():
        for counted in ("marginal", "shared"):
            some = [row for row in rows if (row["paradigm"], row["counted"]) == (name, counted)]
            hours = sum(float(row["device_hours"]) for row in some)
            money = sum(float(row["money_eur"]) for row in some)
            training = sum(float(row["training_hours"]) for row in some)
            assert training == pytest.approx(paradigm["measured"]["training_hours"])
            assert hours == pytest.approx(paradigm["measured"]["device_hours"])
            assert money == pytest.approx(paradigm["measured"]["money"])


def test_steps_of_no_version_have_a_row(trained: Any) -> None:
    document = comparison_document(trained)
    rest = document["paradigms"]["ptfs"]["releases"][0]["cost"]["marginal"]
    document["paradigms"]["ptfs"]["unreleased"] = rest
    _, rows = shown(document)
    (row,) = (row for row in rows if row[1] == UNRELEASED)
    assert row[2:5] == ["500", "500", "n/a"]


def test_tags() -> None:
    assert (tag(1.0, "modelled"), tag(None, "measured"), tag(1.0, None)) == ("modelled", "n/a", "n/a")
    assert (tagged("1", "modelled"), tagged("1", "measured"), tagged("n/a", "modelled")) == ("1~", "1", "n/a")


@pytest.mark.parametrize(
    ("hardware", "said"), [(None, "does not say what it would cost"), ({"device": "H100"}, "over the peak of H100")]
)
def test_what_the_model_rests_on_before_anything_was_measured(make: Any, hardware: Any, said: str) -> None:
    assert said in legend(comparison_document(make(hardware=hardware))["cost_model"])
