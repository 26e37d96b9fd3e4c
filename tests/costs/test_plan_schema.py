"""The published schemas of plans and sweeps against documents of this program and of the one that made tests/stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lrps.base.document import to_json
from lrps.config.loader import load_config
from lrps.costs.planned.plan_document import plan_document, write_plan_json
from lrps.costs.sweep import Grid, sweep_costs
from lrps.plan.plan import Plan, make_plan

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
STORED = REPOSITORY / "tests" / "stored"
FAILING = {"device": "H100", "devices": 8, "mtbf_hours_per_device": 50_000}


def errors(name: str, document: Any) -> list[str]:
    schema = json.loads((REPOSITORY / "docs" / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(document)]


def as_printed(value: Any) -> Any:
    return json.loads(json.dumps(to_json(value), allow_nan=False))


def plan_of(config: Path, runs: Path) -> Plan:
    return make_plan(load_config(config, [f"runs={runs}"]))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda file: file.stem)
def test_plans_and_sweeps_of_the_shipped_configs(config: Path, tmp_path: Path) -> None:
    plan = plan_of(config, tmp_path)
    assert errors("plan", as_printed(plan_document(plan))) == []
    sweep = sweep_costs(plan, Grid((Fraction(1, 2),), (1, 3), (Fraction(1), Fraction(3, 2))))
    assert errors("sweep", as_printed(sweep)) == []
    write_plan_json(plan)
    assert errors("plan-file", json.loads(plan.layout.plan_json.read_text())) == []


@pytest.mark.parametrize("hardware", [FAILING, FAILING | {"save_gb_per_second": 2}])
def test_plans_with_a_failure_rate(make: Any, hardware: dict[str, Any]) -> None:
    document = as_printed(plan_document(make(hardware=hardware)))
    assert document["checkpoint_interval"] is not None
    assert errors("plan", document) == []


@pytest.mark.parametrize("run", ["small", "bf16"])
def test_documents_from_before_there_was_a_format(run: str) -> None:
    printed = json.loads((STORED / "documents" / run / "plan.json").read_text(encoding="utf-8"))
    assert errors("plan", printed | {"format": "lrps-plan/1"}) == []
    assert errors("plan", printed) == ["$: 'format' is a required property"]
    file = json.loads((STORED / "runs" / run / "plan.json").read_text(encoding="utf-8"))
    file["plan"]["format"] = "lrps-plan/1"
    assert errors("plan-file", file | {"format": "lrps-plan-file/1"}) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda plan: plan.update(format="lrps-plan/2"), "$.format"),
        (lambda plan: plan.update(flops_per_token="many"), "$.flops_per_token"),
        (lambda plan: plan["graph"].pop("total_steps"), "$.graph"),
        (lambda plan: plan["graph"].update(device_hours="5"), "$.graph.device_hours"),
        (lambda plan: plan["paradigms"]["ptfs"].pop("releases"), "$.paradigms.ptfs"),
        (lambda plan: plan["paradigms"]["ptfs"]["paths"][0].update(job=None), "$.paradigms.ptfs.paths[0].job"),
        (lambda plan: plan["paradigms"]["cpt"]["paths"][1]["parent"].pop("step"), "$.paradigms.cpt.paths[1].parent"),
        (lambda plan: plan["memory"]["stages"]["1"].update(peak_bytes=0.5), "$.memory"),
    ],
)
def test_a_wrong_plan_is_refused(change: Callable[[Any], object], place: str, tmp_path: Path) -> None:
    document = as_printed(plan_document(plan_of(REPOSITORY / "configs" / "llama-1.2b.yaml", tmp_path)))
    wrong = deepcopy(document)
    change(wrong)
    assert wrong != document
    assert [error.split(":")[0] for error in errors("plan", wrong)] == [place]
