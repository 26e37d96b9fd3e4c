"""Paradigms side by side: every cell with its basis, over finished, half and untrained runs."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from lrps.report.compare import as_csv, as_markdown, compare_document, remarks, shown
from lrps.report.tags import RATIOS, START_UP

STEP, ATTEMPT = 0.036, 12.0
"""Of conftest.py: device-seconds of a step, and of an attempt to start and save."""


def cells(document: dict[str, Any], paradigm: str, run: int = 0) -> dict[str, Any]:
    name = document["runs"][run]["name"]
    (row,) = (row for row in document["rows"] if (row["run"], row["paradigm"]) == (name, paradigm))
    return row["cells"]


def bases(document: dict[str, Any], paradigm: str) -> set[str]:
    return {cell["basis"] for cell in cells(document, paradigm).values()}


def test_a_finished_run_is_measured(trained: Any) -> None:
    document = compare_document([trained])
    hours = {"path-switching": 2900 * STEP + 5 * ATTEMPT, "ptfs": 5000 * STEP + 4 * ATTEMPT}
    hours["cpt"] = 2150 * STEP + 5 * ATTEMPT
    for name, seconds in hours.items():
        found = cells(document, name)
        assert bases(document, name) == {"measured", "n/a"}
        assert [key for key, cell in found.items() if cell["basis"] == "n/a"] == ["energy_kwh"]
        assert found["device_hours"]["value"] == pytest.approx(seconds / 3600)
        assert found["money"]["value"] == pytest.approx(2 * seconds / 3600)
        trained_steps = {"path-switching": 2900, "ptfs": 5000, "cpt": 2150}
        assert found["ratio_to_ptfs"]["value"] == pytest.approx(trained_steps[name] / 5000)
        assert found["ratio_to_cpt"]["value"] == pytest.approx(trained_steps[name] / 2150)
        assert found["held_ratio_to_ptfs"]["value"] == pytest.approx(seconds / hours["ptfs"])
        assert found["held_ratio_to_cpt"]["value"] == pytest.approx(seconds / hours["cpt"])
    assert cells(document, "cpt")["tokens"]["value"] == 2150 * 256
    assert cells(document, "cpt")["steps"]["value"] == 2000
    assert "All numbers are measured." in remarks(document)


def test_what_ran_is_measured_and_the_rest_modelled_from_it(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)
    names = [path.name for path in plan.graph.paradigms[0].paths]
    formulas.Run(plan).train(names)
    document = compare_document([plan])
    assert bases(document, "path-switching") == {"measured", "modelled", "n/a"}
    assert cells(document, "path-switching")["device_hours"]["basis"] == "measured"
    assert cells(document, "path-switching")["ratio_to_ptfs"]["basis"] == "modelled", "the other side is"
    assert cells(document, "path-switching")["held_ratio_to_ptfs"] == {"value": None, "basis": "n/a"}
    a_step = (2900 * STEP + 5 * ATTEMPT) / 2900
    assert cells(document, "ptfs")["device_hours"] == {
        "value": pytest.approx(5000 * a_step / 3600),
        "basis": "modelled",
    }
    assert cells(document, "ptfs")["goodput"] == {"value": None, "basis": "n/a"}
    text = " ".join(remarks(document))
    assert "measured over 5 paths (2,900 steps) of small on 2 x cpu" in text


def test_ptfs_and_cpt_stand_beside_a_run_that_has_none(make: Any, formulas: Any) -> None:
    plan = make(paradigms={"path-switching": {"alpha": 0.6}, "cpt": {"kind": "path-switching", "alpha": 0.8}})
    formulas.Run(plan).train()
    document = compare_document([plan])
    rows = {row["paradigm"]: (row["kind"], row["in_config"]) for row in document["rows"]}
    assert rows == {
        "path-switching": ("path-switching", True),
        "cpt": ("path-switching", True),
        "ptfs": ("ptfs", False),
        "cpt-default": ("cpt", False),
    }
    assert cells(document, "path-switching")["device_hours"]["basis"] == "measured"
    assert cells(document, "ptfs")["steps"] == {"value": 5000, "basis": "modelled"}
    assert cells(document, "cpt-default")["steps"] == {"value": 2000, "basis": "modelled"}
    head, table = shown(document)
    assert [row[0] for row in table][-2:] == ["ptfs (not in the config)", "cpt-default (not in the config)"]
    assert table[-2][head.index("device-hours")].endswith("~")


def test_where_nothing_is_known_ratios_are_those_of_steps(make: Any) -> None:
    document = compare_document([make()])
    found = cells(document, "path-switching")
    assert found["ratio_to_ptfs"] == {"value": pytest.approx(0.58), "basis": "modelled"}
    assert found["device_hours"] == {"value": None, "basis": "n/a"}
    assert found["seen_loss"] == {"value": None, "basis": "n/a"}


def test_a_baseline_that_cannot_be_compiled_is_told(make: Any) -> None:
    versions = [{"name": f"v{k}", "tokens": count * 256} for k, count in enumerate((500, 40), 1)]
    data = {**make().config.data.model_dump(), "versions": versions}
    document = compare_document([make(data=data, paradigms={"path-switching": {}, "ptfs": {}})])
    assert [row["paradigm"] for row in document["rows"]] == ["path-switching", "ptfs"]
    assert any("no cpt beside it" in note for note in document["notes"])
    assert cells(document, "ptfs")["ratio_to_cpt"]["basis"] == "n/a"


def test_several_runs_in_one_table(trained: Any, make: Any) -> None:
    other = make(batch={"sequences": 8}, launch={"processes": 2})
    document = compare_document([trained, other])
    names = [run["name"] for run in document["runs"]]
    assert names == [str(trained.layout.run_dir), str(other.layout.run_dir)], "both are called small"
    assert cells(document, "ptfs", 1)["device_hours"]["basis"] == "modelled", "from what the first one measured"
    assert cells(document, "ptfs", 1)["steps"]["value"] == 2500
    (note,) = document["notes"]
    assert note.startswith("The runs differ in currency, batch:")
    _, table = shown(document)
    assert len(table) == 6
    assert table[0][0] == f"{names[0]}: path-switching"


def test_csv_says_the_basis_of_every_value(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)
    formulas.Run(plan).train(["main", "branch-v1"])
    document = compare_document([plan])
    rows = list(csv.DictReader(io.StringIO(as_csv(document))))
    assert [row["paradigm"] for row in rows] == ["path-switching", "ptfs", "cpt"]
    for row in rows:
        for name in (key.removesuffix("_basis") for key in row if key.endswith("_basis")):
            assert row[f"{name}_basis"] in ("measured", "modelled", "n/a")
            assert (row[name] == "n/a") == (row[f"{name}_basis"] == "n/a")
    assert rows[0]["currency"] == "EUR"
    assert float(rows[0]["money"]) == cells(document, "path-switching")["money"]["value"]


def test_markdown_of_a_finished_run(trained: Any) -> None:
    assert as_markdown(compare_document([trained])).splitlines()[:5] == [
        "| paradigm | steps | tokens | FLOPs | device-hours | EUR | kWh | goodput | training time, of PTFS "
        "| training time, of CPT | held, of PTFS | held, of CPT | held-out loss of v4 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| path-switching | 2,900 | 742K | 2.05e12 | 0.0457 | 0.0913 | n/a | 63.5% | 58.0% | 134.9% | 72.1% | 119.7% "
        "| 2.1610 |",
        "| ptfs | 5,000 | 1.28M | 3.53e12 | 0.0633 | 0.127 | n/a | 78.9% | 100.0% | 232.6% | 100.0% | 165.9% "
        "| 2.1490 |",
        "| cpt | 2,000 | 550K | 1.52e12 | 0.0382 | 0.0763 | n/a | 52.4% | 43.0% | 100.0% | 60.3% | 100.0% | 2.2450 |",
    ]


def test_remarks_say_what_ratios_and_hours_are_of(trained: Any, make: Any) -> None:
    said = remarks(compare_document([trained]))
    assert {RATIOS, START_UP} <= set(said)
    assert not any("those of steps" in remark for remark in said)
    said = remarks(compare_document([make()]))
    assert "Where no device-hours are known, ratios of training time are those of steps." in said
    assert START_UP not in said, "nothing was started"


def test_the_document_is_plain_json(trained: Any) -> None:
    document = compare_document([trained])
    assert json.loads(json.dumps(document, allow_nan=False)) == document
