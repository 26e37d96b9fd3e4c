"""What the run directory says about every path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.config.models import Config
from lrps.errors import LineageError
from lrps.ledger.records import FORMAT, Counters, LedgerWriter
from lrps.plan import Plan, make_plan
from lrps.status import check_run_dir, done_steps, path_status
from lrps.store import checkpoints
from lrps.store.files import atomic_write_json
from lrps.store.lock import path_lock

MakeConfig = Callable[..., Config]


@pytest.fixture
def plan(make_config: MakeConfig, tmp_path: Path) -> Plan:
    return make_plan(make_config(runs=str(tmp_path)))


def save(plan: Plan, name: str, step: int) -> None:
    directory = plan.layout.path(name).checkpoints
    plan.layout.path(name).directory.mkdir(parents=True, exist_ok=True)
    atomic_write_json(plan.layout.path(name).path_json, plan.identity(plan.graph.by_name[name]))
    temporary = checkpoints.begin(directory, step)
    (temporary / "data").write_bytes(b"weights")
    checkpoints.publish(temporary, step, {"data": checkpoints.seal(temporary / "data")}, {})


def attempt(plan: Plan, name: str, *records: tuple[str, int, dict[str, str]]) -> None:
    writer = LedgerWriter(plan.layout.path(name).ledger)
    start = plan.graph.by_name[name].start
    writer.append("start", start, Counters(), format=FORMAT, path_start=start, device="cpu", processes=1)
    for kind, step, facts in records:
        writer.append(kind, step, Counters(steps=step - start), **facts)
    writer.close()


def state(plan: Plan, name: str) -> tuple[str, int]:
    status = path_status(plan, plan.graph.by_name[name])
    return status.state, status.step


def test_nothing_there_is_planned(plan: Plan) -> None:
    assert state(plan, "main") == ("planned", 0)
    assert state(plan, "branch-v2") == ("planned", 140)
    assert done_steps(plan) == {}


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (("heartbeat", 30, {}), "failed"),
        (("failure", 30, {"error": "Boom"}), "failed"),
        (("stop", 30, {"outcome": "interrupted"}), "interrupted"),
        (("stop", 30, {"outcome": "complete"}), "planned"),
    ],
    ids=["killed", "failed", "interrupted", "grown since"],
)
def test_an_unfinished_path_is_what_its_last_record_says(
    plan: Plan, record: tuple[str, int, dict[str, str]], found: str
) -> None:
    save(plan, "main", 20)
    attempt(plan, "main", record)
    assert state(plan, "main") == (found, 20)
    with path_lock(plan.layout.path("main").directory):
        assert state(plan, "main") == ("running", 20)


def test_complete_is_the_checkpoint_of_the_last_step(plan: Plan) -> None:
    attempt(plan, "main", ("stop", 340, {"outcome": "complete"}))
    assert state(plan, "main")[0] == "planned", "whatever the ledger says"
    save(plan, "main", 340)
    assert state(plan, "main") == ("complete", 340)
    assert done_steps(plan) == {"main": 340}


def test_an_incomplete_checkpoint_does_not_count(plan: Plan) -> None:
    save(plan, "main", 340)
    (plan.layout.path("main").checkpoints / "step-00000340" / "data").write_bytes(b"wei")
    assert state(plan, "main") == ("planned", 0)


def test_a_directory_of_another_plan_is_foreign(plan: Plan, make_config: MakeConfig, tmp_path: Path) -> None:
    save(plan, "main", 340)
    assert state(plan, "main") == ("complete", 340)
    check_run_dir(plan, plan.graph.paths)
    other = make_plan(make_config(runs=str(tmp_path), seed=8))
    assert state(other, "main") == ("foreign", 0)
    assert done_steps(other) == {}
    with pytest.raises(LineageError, match="seed"):
        check_run_dir(other, other.graph.paths)


def test_checkpoints_that_nothing_explains_are_foreign(plan: Plan) -> None:
    save(plan, "main", 340)
    plan.layout.path("main").path_json.unlink()
    assert state(plan, "main") == ("foreign", 0)
    with pytest.raises(LineageError, match=r"has checkpoints but no path\.json"):
        check_run_dir(plan, plan.graph.paths)
