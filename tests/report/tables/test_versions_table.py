"""What versions cost, as people and as spreadsheets read it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest

from lrps.costs.comparison import make_comparison
from lrps.report.comparison_text import comparison_markdown
from lrps.report.table import Marked
from lrps.report.tables.totals_table import totals_table
from lrps.report.tables.versions_table import UNRELEASED, version_costs_records, version_costs_table
from lrps.report.tags import legend, marked, tag


def test_a_finished_run(trained: Any) -> None:
    table = version_costs_table(make_comparison(trained))
    assert table.titles[:5] == ("paradigm", "version", "steps, marginal", "steps, shared", "steps, lineage")
    assert list(table.titles[5:]) == [
        f"{unit}, {key}"
        for unit in ("device-hours", "training-hours", "EUR")
        for key in ("marginal", "shared", "lineage")
    ]
    found = {row[:2]: row[2:] for row in table.texts}
    assert found["path-switching", "v2"] == (
        *("800", "516.7", "1,000"),
        *("0.0113", "0.00919", "0.0161"),
        *("0.008", "0.00517", "0.01"),
        *("0.0227", "0.0184", "0.0322"),
    )
    assert found["cpt", "v3"] == (
        *("500", "541.7", "1,500"),
        *("0.0132", "0.0114", "0.0298"),
        *("0.0065", "0.00617", "0.0165"),
        *("0.0263", "0.0229", "0.0597"),
    )


def test_the_terminal_has_times_in_the_unit_that_fits(trained: Any) -> None:
    table = version_costs_table(make_comparison(trained), for_terminal=True)
    assert table.titles[5:9] == (
        "device time, marginal",
        "device time, shared",
        "device time, lineage",
        "training time, marginal",
    )
    found = {row[:2]: row[2:] for row in table.texts}
    assert found["path-switching", "v2"][3:7] == ("40.8 s", "33.1 s", "58 s", "28.8 s")


def test_marks_are_where_something_is_modelled(make: Any, formulas: Any) -> None:
    plan = make()
    formulas.Run(plan).train(["main", "branch-v1", "ptfs-v1"], stop_at={"main": 700})
    comparison = make_comparison(plan)
    table = version_costs_table(comparison)
    found = {row[:2]: row[5:8] for row in table.texts}
    assert not any("~" in cell for cell in found["path-switching", "v1"] + found["cpt", "v1"])
    assert all(cell.endswith("~") for cell in found["path-switching", "v2"] + found["ptfs", "v4"])
    markdown = comparison_markdown(comparison)
    assert "~ modelled, in whole or in part, from" in markdown
    assert "| modelled |" in markdown
    assert r"\textasciitilde{}" in table.to_latex()
    totals = list(csv.DictReader(io.StringIO(totals_table(comparison).to_csv())))
    assert [row["total_basis"] for row in totals] == ["modelled"] * 3
    assert [row["total_energy_kwh"] for row in totals] == ["n/a"] * 3


def test_csv_is_exact_and_adds_up(trained: Any) -> None:
    comparison = make_comparison(trained)
    rows = list(csv.DictReader(io.StringIO(version_costs_records(comparison).to_csv())))
    assert len(rows) == 3 * 4 * 3
    assert {row["basis"] for row in rows} == {"measured"}
    for name, paradigm in comparison.paradigms.items():
        assert paradigm.measured is not None
        for counted in ("marginal", "shared"):
            some = [row for row in rows if (row["paradigm"], row["counted"]) == (name, counted)]
            assert sum(float(row["training_hours"]) for row in some) == pytest.approx(paradigm.measured.training_hours)
            assert sum(float(row["device_hours"]) for row in some) == pytest.approx(paradigm.measured.device_hours)
            assert sum(float(row["money_eur"]) for row in some) == pytest.approx(paradigm.measured.money)


def test_steps_of_no_version_have_a_row(trained: Any) -> None:
    comparison = make_comparison(trained)
    ptfs = comparison.paradigms["ptfs"]
    changed = {**comparison.paradigms, "ptfs": replace(ptfs, unreleased=ptfs.releases[0].cost.marginal)}
    table = version_costs_table(replace(comparison, paradigms=changed))
    (row,) = (row for row in table.texts if row[1] == UNRELEASED)
    assert row[2:5] == ("500", "500", "n/a")


def test_tags() -> None:
    assert (tag(1.0, "modelled"), tag(None, "measured"), tag(1.0, None)) == ("modelled", "n/a", "n/a")
    assert (marked(1, "modelled"), marked(1, "measured"), marked(None, None)) == (Marked(1, "~"), 1, None)


@pytest.mark.parametrize(
    ("hardware", "said"),
    [(None, "the cost is unknown for the hardware of the config"), ({"device": "H100"}, "over the peak of H100")],
)
def test_what_the_model_is_based_on_before_anything_was_measured(make: Any, hardware: Any, said: str) -> None:
    assert said in legend(make_comparison(make(hardware=hardware)).cost_model)
