"""Paradigms side by side: every cell with its basis, over finished, half and untrained runs."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lrps.base.document import to_json
from lrps.base.document_schema import json_schema
from lrps.costs.compare import CompareDocument, ComparedValue, compare_runs

STEP, ATTEMPT = 0.036, 12.0
"""Of conftest.py: device-seconds of a step, and of an attempt to start and save."""


def cells(document: CompareDocument, paradigm: str, run: int = 0) -> dict[str, ComparedValue]:
    name = document.runs[run].name
    (row,) = (row for row in document.rows if (row.run, row.paradigm) == (name, paradigm))
    return {each.name: getattr(row.values, each.name) for each in fields(row.values)}


def bases(document: CompareDocument, paradigm: str) -> set[str]:
    return {cell.basis for cell in cells(document, paradigm).values()}


def test_ptfs_is_added_beside_a_control_with_as_many_steps(make: Any) -> None:
    paradigms = {"path-switching": {}, "matched": {"kind": "ptfs", "steps_of": "path-switching"}}
    document = compare_runs([make(paradigms=paradigms)])
    assert cells(document, "ptfs")["steps"].value == 5000
    assert cells(document, "matched")["steps"].value == 2900


def test_a_finished_run_is_measured(trained: Any) -> None:
    document = compare_runs([trained])
    hours = {"path-switching": 2900 * STEP + 5 * ATTEMPT, "ptfs": 5000 * STEP + 4 * ATTEMPT}
    hours["cpt"] = 2150 * STEP + 5 * ATTEMPT
    for name, seconds in hours.items():
        found = cells(document, name)
        assert bases(document, name) == {"measured", "n/a"}
        assert [key for key, cell in found.items() if cell.basis == "n/a"] == ["energy_kwh"]
        assert found["device_hours"].value == pytest.approx(seconds / 3600)
        assert found["money"].value == pytest.approx(2 * seconds / 3600)
        trained_steps = {"path-switching": 2900, "ptfs": 5000, "cpt": 2150}
        assert found["ratio_to_ptfs"].value == pytest.approx(trained_steps[name] / 5000)
        assert found["ratio_to_cpt"].value == pytest.approx(trained_steps[name] / 2150)
        assert found["allocated_ratio_to_ptfs"].value == pytest.approx(seconds / hours["ptfs"])
        assert found["allocated_ratio_to_cpt"].value == pytest.approx(seconds / hours["cpt"])
    assert cells(document, "cpt")["tokens"].value == 2150 * 256
    assert cells(document, "cpt")["steps"].value == 2000


def test_what_ran_is_measured_and_the_rest_modelled_from_it(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)
    names = [path.name for path in plan.graph.paradigms[0].paths]
    formulas.Run(plan).train(names)
    document = compare_runs([plan])
    assert bases(document, "path-switching") == {"measured", "modelled", "n/a"}
    assert cells(document, "path-switching")["device_hours"].basis == "measured"
    assert cells(document, "path-switching")["ratio_to_ptfs"].basis == "modelled", "the other side is"
    assert cells(document, "path-switching")["allocated_ratio_to_ptfs"] == ComparedValue(None, "n/a")
    a_step = (2900 * STEP + 5 * ATTEMPT) / 2900
    assert cells(document, "ptfs")["device_hours"] == ComparedValue(pytest.approx(5000 * a_step / 3600), "modelled")
    assert cells(document, "ptfs")["goodput"] == ComparedValue(None, "n/a")


def test_a_run_without_ptfs_and_cpt_is_compared_with_both(make: Any, formulas: Any) -> None:
    plan = make(paradigms={"path-switching": {"alpha": 0.6}, "cpt": {"kind": "path-switching", "alpha": 0.8}})
    formulas.Run(plan).train()
    document = compare_runs([plan])
    rows = {row.paradigm: (row.kind, row.in_config) for row in document.rows}
    assert rows == {
        "path-switching": ("path-switching", True),
        "cpt": ("path-switching", True),
        "ptfs": ("ptfs", False),
        "cpt-default": ("cpt", False),
    }
    assert cells(document, "path-switching")["device_hours"].basis == "measured"
    assert cells(document, "ptfs")["steps"] == ComparedValue(5000, "modelled")
    assert cells(document, "cpt-default")["steps"] == ComparedValue(2000, "modelled")


def test_where_nothing_is_known_ratios_are_those_of_steps(make: Any) -> None:
    document = compare_runs([make()])
    found = cells(document, "path-switching")
    assert found["ratio_to_ptfs"] == ComparedValue(pytest.approx(0.58), "modelled")
    assert found["device_hours"] == ComparedValue(None, "n/a")
    assert found["seen_loss"] == ComparedValue(None, "n/a")


def test_a_baseline_that_cannot_be_compiled_is_explained(make: Any) -> None:
    versions = [{"name": f"v{k}", "tokens": count * 256} for k, count in enumerate((500, 40), 1)]
    data = {**make().config.data.model_dump(), "versions": versions}
    document = compare_runs([make(data=data, paradigms={"path-switching": {}, "ptfs": {}})])
    assert [row.paradigm for row in document.rows] == ["path-switching", "ptfs"]
    assert any("no cpt beside it" in note for note in document.notes)
    assert cells(document, "ptfs")["ratio_to_cpt"].basis == "n/a"


def test_several_runs(trained: Any, make: Any) -> None:
    other = make(batch={"sequences": 8}, launch={"processes": 2})
    document = compare_runs([trained, other])
    names = [run.name for run in document.runs]
    assert names == [str(trained.layout.run_dir), str(other.layout.run_dir)], "both are called small"
    assert cells(document, "ptfs", 1)["device_hours"].basis == "modelled", "from what the first one measured"
    assert cells(document, "ptfs", 1)["steps"].value == 2500
    (note,) = document.notes
    assert note.startswith("The runs differ in currency, batch:")


def test_the_schema_describes_a_real_comparison(trained: Any, make: Any) -> None:
    document = json.loads(json.dumps(to_json(compare_runs([trained, make()])), allow_nan=False))
    assert document["format"] == "lrps-compare/1"
    assert list(document["rows"][0]["cells"])[-3:] == ["held_ratio_to_ptfs", "held_ratio_to_cpt", "seen_loss"]
    validator = Draft202012Validator(json_schema(CompareDocument))
    validator.validate(document)
    document["rows"][0]["cells"]["money"]["basis"] = "guessed"
    assert not validator.is_valid(document)
