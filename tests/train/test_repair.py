"""Nested keys of model.architecture: one identity for all paths of a process; records of earlier versions mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrps.audit.run import audit_run
from lrps.base.errors import CheckpointError, LineageError
from lrps.config.loader import load_config
from lrps.engine.model import filled_architecture
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import check_run_dir, plan_status
from lrps.train.repair import repair_run
from support.plain_engine import run

Make = Callable[..., Plan]
PATHS = ("main", "branch-v1", "branch-v2")
ROPE = {"rope_type": "linear", "factor": 2.0}


@pytest.fixture
def make(tiny_config: Path, tmp_path: Path) -> Make:
    """make(rope parameters, "key=value", ...) -> the tiny plan with its run below tmp_path."""

    def plan(rope: dict[str, Any], *settings: str) -> Plan:
        key = f"model.architecture.rope_parameters={json.dumps(rope)}"
        return make_plan(load_config(tiny_config, [f"runs={tmp_path / 'runs'}", key, *settings]))

    return plan


def training(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return path -> what path.json records of its training."""
    files = plan.config.run_dir.glob("*/path.json")
    return {file.parent.name: json.loads(file.read_text())["training"] for file in files}


def states(plan: Plan) -> set[str]:
    """Return the states of the paths that have a directory."""
    return {status.state for status in plan_status(plan) if plan.layout.path(status.path.name).path_json.exists()}


def test_all_paths_of_a_process_record_the_architecture_of_the_config(make: Make) -> None:
    plan = make(ROPE)
    run(plan, *PATHS)
    assert set(training(plan)) == set(PATHS)
    assert all(each["architecture"]["rope_parameters"] == ROPE for each in training(plan).values())
    assert states(make(ROPE)) == {"complete"}


def damage(plan: Plan, make: Make) -> None:
    """Train as earlier versions did: nested keys of transformers in all digests and all records but main's."""
    filled = filled_architecture(plan.config.model.architecture or {})["rope_parameters"]
    assert filled != ROPE
    run(make(filled), *PATHS)
    file = plan.layout.path("main").path_json
    identity = json.loads(file.read_text())
    identity["training"]["architecture"]["rope_parameters"] = ROPE
    file.write_text(json.dumps(identity))


def test_a_damaged_run_says_how_to_repair_it_and_continues(make: Make) -> None:
    plan, longer = make(ROPE), make(ROPE, "data.versions.2={name: v3, tokens: 640}")
    damage(plan, make)
    with pytest.raises(
        LineageError,
        match=r"(?s)rope_theta`: the run was begun with 10000.0, the config says null.*`lrps repair CONFIG`",
    ):
        check_run_dir(plan, plan.graph.paths)
    with pytest.raises(CheckpointError, match=r"is of another plan.*`lrps repair CONFIG`"):
        run(longer, "main")

    assert set(repair_run(plan)) == set(PATHS)
    assert states(make(ROPE)) == {"complete"}
    longer = make(ROPE, "data.versions.2={name: v3, tokens: 640}")
    run(longer, *PATHS, "branch-v3")  # main resumes from a state with the other digest, and a branch forks from it.
    assert states(longer) == {"complete"}
    assert audit_run(longer.config.run_dir).differences == ()
    assert repair_run(longer) == [], "path.json of main, which has grown, still declares the other digest"


def test_another_architecture_is_not_taken_for_a_damaged_record(make: Make) -> None:
    plan = make({**ROPE, "rope_theta": 5e5})
    run(plan, "main", "branch-v1")
    before = training(plan)
    assert repair_run(make(ROPE)) == []
    assert training(plan) == before
    with pytest.raises(LineageError, match="rope_theta`: the run was begun with 500000.0, the config says null"):
        check_run_dir(make(ROPE), plan.graph.paths)
