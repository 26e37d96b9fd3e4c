"""The published schema of comparison.json against documents of this program and of the one that made tests/stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lrps.base.document import to_json
from lrps.costs.comparison import make_comparison
from lrps.ledger.writer import book_event
from lrps.plan.plan import Plan

REPOSITORY = Path(__file__).parents[2]
SCHEMA = json.loads((REPOSITORY / "docs" / "schemas" / "comparison.schema.json").read_text(encoding="utf-8"))


def errors(document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(document)]


def written(plan: Plan) -> Any:
    return json.loads(json.dumps(to_json(make_comparison(plan)), allow_nan=False))


def test_a_run_with_all_that_can_be_measured(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)
    formulas.Run(plan).train()
    book_event(plan.layout.ledger, "rehearsal", 0, 1800.0, set="r", generator="hf")
    document = written(plan)
    assert document["rehearsal_cost"] is not None
    assert document["paradigms"]["cpt"]["matrices"]
    assert errors(document) == []


def test_runs_that_are_planned_and_half_done(make: Any, formulas: Any) -> None:
    plan = make(hardware=formulas.PRICED)
    planned = written(plan)
    assert planned["graph"]["measured"] is None
    assert errors(planned) == []
    formulas.Run(plan).train(["main", "branch-v1"], stop_at={"main": 900})
    half_done = written(plan)
    assert half_done["paradigms"]["ptfs"]["estimate"]["basis"] == "modelled"
    assert errors(half_done) == []


@pytest.mark.parametrize("run", ["small", "bf16"])
def test_documents_from_before_there_was_a_format(run: str) -> None:
    file = REPOSITORY / "tests" / "stored" / "runs" / run / "report" / "comparison.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    assert errors(document | {"format": "lrps-comparison/1"}) == []
    assert errors(document) == ["$: 'format' is a required property"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda document: document.update(format="lrps-comparison/2"), "$.format"),
        (lambda document: document["graph"]["measured"].update(money="much"), "$.graph.measured"),
        (lambda document: document["paradigms"]["ptfs"].update(complete=None), "$.paradigms.ptfs.complete"),
        (lambda document: document["paradigms"]["cpt"]["paths"][0].pop("state"), "$.paradigms.cpt.paths[0]"),
        (
            lambda document: document["paradigms"]["cpt"]["releases"][1]["cost"]["shared"].update(basis="guessed"),
            "$.paradigms.cpt.releases[1].cost.shared.basis",
        ),
        (lambda document: document["curves"]["main"]["lr"].insert(0, "0"), "$.curves.main.lr[0]"),
        (lambda document: document["provenance"]["prices"][0].pop("device_hours"), "$.provenance.prices[0]"),
    ],
)
def test_a_wrong_comparison_is_refused(trained: Any, change: Callable[[Any], object], place: str) -> None:
    wrong = written(trained)
    change(wrong)
    assert [error.split(":")[0] for error in errors(wrong)] == [place]
