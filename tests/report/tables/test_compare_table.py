"""Paradigms of several runs side by side, as a table."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

from lrps.costs.compare import compare_runs
from lrps.report.tables.compare_table import FORMATS, compare_records, compare_table
from lrps.report.tags import RATIOS, START_UP


def test_csv_has_the_basis_of_every_value(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)
    formulas.Run(plan).train(["main", "branch-v1"])
    document = compare_runs([plan])
    rows = list(csv.DictReader(io.StringIO(compare_records(document).to_csv())))
    assert [row["paradigm"] for row in rows] == ["path-switching", "ptfs", "cpt"]
    for row in rows:
        for name in (key.removesuffix("_basis") for key in row if key.endswith("_basis")):
            assert row[f"{name}_basis"] in ("measured", "modelled", "n/a")
            assert (row[name] == "n/a") == (row[f"{name}_basis"] == "n/a")
    assert rows[0]["currency"] == "EUR"
    assert float(rows[0]["money"]) == document.rows[0].values.money.value


def test_markdown_of_a_finished_run(trained: Any) -> None:
    file, write = FORMATS["md"]
    assert file == "compare.md"
    assert write(compare_runs([trained])).splitlines()[:5] == [
        "| paradigm | steps | tokens | FLOPs | device-hours | EUR | kWh | goodput | training device-hours, % of PTFS "
        "| training device-hours, % of CPT | allocated device-hours, % of PTFS | allocated device-hours, % of CPT "
        "| held-out loss of v4 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| path-switching | 2,900 | 742K | 2.05e12 | 0.0457 | 0.0913 | n/a | 63.5% | 58.0% | 134.9% | 72.1% | 119.7% "
        "| 2.1610 |",
        "| ptfs | 5,000 | 1.28M | 3.53e12 | 0.0633 | 0.127 | n/a | 78.9% | 100.0% | 232.6% | 100.0% | 165.9% "
        "| 2.1490 |",
        "| cpt | 2,000 | 550K | 1.52e12 | 0.0382 | 0.0763 | n/a | 52.4% | 43.0% | 100.0% | 60.3% | 100.0% | 2.2450 |",
    ]


def test_the_terminal_has_times_in_the_unit_that_fits(trained: Any) -> None:
    table = compare_table(compare_runs([trained]), for_terminal=True)
    assert dict(zip(table.titles, table.texts[1], strict=True))["device time"] == "3.8 min"


def test_names_say_what_is_not_in_the_config_and_marks_what_is_modelled(make: Any, formulas: Any) -> None:
    plan = make(paradigms={"path-switching": {"alpha": 0.6}, "cpt": {"kind": "path-switching", "alpha": 0.8}})
    formulas.Run(plan).train()
    table = compare_table(compare_runs([plan]))
    assert [row[0] for row in table.texts][-2:] == ["ptfs (not in the config)", "cpt-default (not in the config)"]
    assert table.texts[-2][table.titles.index("device-hours")].endswith("~")


def test_several_runs_are_in_one_table(trained: Any, make: Any) -> None:
    table = compare_table(compare_runs([trained, make(batch={"sequences": 8}, launch={"processes": 2})]))
    assert len(table.rows) == 6
    assert table.texts[0][0] == f"{trained.layout.run_dir}: path-switching"
    assert table.titles[-1] == "held-out loss"


def test_the_notes_say_what_ratios_and_hours_are_of(trained: Any, make: Any, formulas: Any) -> None:
    notes = compare_table(compare_runs([trained])).notes
    assert {RATIOS, START_UP, "All numbers are measured."} <= set(notes)
    assert not any("those of steps" in note for note in notes)
    notes = compare_table(compare_runs([make()])).notes
    assert "Where no device-hours are known, ratios of training time are those of steps." in notes
    assert START_UP not in notes, "nothing was started"
    half = make(hardware=formulas.PRICED, name="half")
    formulas.Run(half).train([path.name for path in half.graph.paradigms[0].paths])
    assert "measured over 5 paths (2,900 steps) of half on 2 x cpu" in " ".join(
        compare_table(compare_runs([half])).notes
    )


def test_unequal_speeds_are_noted(trained: Any) -> None:
    document = compare_runs([trained])
    assert not any("speeds" in note for note in compare_table(document).notes)
    slow = replace(document, runs=(replace(document.runs[0], unequal_speed=8.5),))
    assert any("speeds of its paths differed 8.5-fold" in note for note in compare_table(slow).notes)
