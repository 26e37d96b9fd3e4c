"""Sweeps as tables, sentences, files and charts."""

from __future__ import annotations

import csv
import io
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

from lrps.costs.sweep import Grid, sweep_costs
from lrps.report.sweep import sweep_charts, sweep_records, sweep_remarks, sweep_tables

ALPHAS = (Fraction("0.2"), Fraction("0.4"), Fraction("0.6"), Fraction("0.8"))
ONE = (Fraction(1),)


def test_tables_and_files(make: Any) -> None:
    sweep = sweep_costs(make(), Grid(ALPHAS, (2, 4), (Fraction(1), Fraction(2))))
    tables = list(sweep_tables(sweep))
    growing = ", each increment 2 times the last"
    of_one = ["path switching, of PTFS", "path switching, of CPT", "steps, planned"]
    assert sweep_remarks(sweep) == [
        "The first increment is that of the config: T = 500 steps. "
        "Costs are in steps: the config does not say what they take."
    ]
    assert [table.title for table in tables] == [*of_one, *(title + growing for title in of_one)]
    assert tables[0].titles == ("alpha", "N = 2", "N = 4")
    assert tables[0].texts[2] == ("0.6", "86.7%", "58.0%")
    rows = list(csv.DictReader(io.StringIO(sweep_records(sweep).to_csv(missing=""))))
    assert len(rows) == 4 * 2 * 2 * 3
    assert {row["money"] for row in rows} == {""}, "no price"
    assert rows[0]["steps"] == str(sweep.points[0].costs["path-switching"].cost.steps)


def test_costs_are_in_what_the_config_knows(make: Any) -> None:
    price = {"amount": 2.0, "currency": "EUR", "source": "x", "date": "2026-01-01"}
    hardware = {"device": "any", "devices": 4, "peak_tflops": 1e-6, "mfu": 0.5, "price_per_device_hour": price}
    priced = sweep_costs(make(hardware=hardware), Grid((Fraction("0.6"),), (4,), ONE))
    assert [table.title for table in sweep_tables(priced)][-1] == "EUR, planned"
    first, planned = sweep_remarks(priced)
    assert first == "The first increment is that of the config: T = 500 steps."
    assert planned.endswith(
        "model FLOPs over the peak of any (1e-06 TFLOP/s) x hardware.mfu 0.5, at 2 EUR a device-hour (x, 2026-01-01)."
    )
    unpriced = sweep_costs(make(hardware=hardware | {"price_per_device_hour": None}), Grid(ALPHAS, (2,), ONE))
    *_, costs = sweep_tables(unpriced)
    assert costs.title == "device time, planned"
    assert all(cell.endswith(" h") for row in costs.texts for cell in row[1:])
    assert sweep_remarks(unpriced)[1].endswith("hardware.mfu 0.5.")


def test_tables_fit_a_terminal_of_80_columns(make: Any) -> None:
    sweep = sweep_costs(make(), Grid(ALPHAS, tuple(range(1, 31)), ONE))
    lines = [line for table in sweep_tables(sweep) for line in table.to_text(80).splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("alpha   N = 1  N = 2")


def test_charts_are_drawings_in_light_and_dark(make: Any) -> None:
    grid = Grid(ALPHAS, tuple(range(1, 13)), (Fraction(1), Fraction(3, 2)))
    drawn = sweep_charts(sweep_costs(make(), grid))
    names = {"ptfs-over-alpha", "cpt-over-alpha", "ptfs-over-versions", "cpt-over-versions", "cost-over-versions"}
    assert set(drawn) == names | {f"{name}-growth-1.5" for name in names}
    for drawing in drawn.values():
        text = drawing.standalone()
        ElementTree.fromstring(text)
        assert "prefers-color-scheme:dark" in text
    assert drawn["ptfs-over-alpha"].body.count('class="line') == 8, "no two lines look alike"
    assert "N = 1<" in drawn["ptfs-over-alpha"].body
    assert "N = 12<" in drawn["ptfs-over-alpha"].body


def test_one_point_can_be_drawn(make: Any) -> None:
    for drawing in sweep_charts(sweep_costs(make(), Grid((Fraction(1, 2),), (1,), ONE))).values():
        ElementTree.fromstring(drawing.standalone())
