"""What the run directory says about every path."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.base.errors import LineageError
from lrps.base.files import atomic_write_json
from lrps.base.locks import path_lock
from lrps.config.models import Config
from lrps.ledger.metrics import Metrics, MetricsWriter
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import Findings, check_run_dir, done_steps, path_status, status_of
from lrps.store import checkpoints

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
    checkpoints.publish(temporary, step, {"data": checkpoints.fsync_and_hash(temporary / "data")}, {})


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


def log(plan: Plan, name: str, *steps: int) -> None:
    writer = MetricsWriter(plan.layout.path(name).metrics)
    for step in steps:
        writer.write(Metrics(step, step * 16, loss=step / 7, lr=1e-3, grad_norm=1.0, tokens_per_second=160.0))
    writer.close()


def test_the_live_step_is_the_newest_record(plan: Plan) -> None:
    main = plan.graph.by_name["main"]
    save(plan, "main", 20)
    log(plan, "main", 10, 20, 30, 40)
    attempt(plan, "main", ("heartbeat", 30, {}))
    status = path_status(plan, main)
    assert (status.step, status.live_step, status.tokens_per_second) == (20, 40, 160.0)
    assert [metrics.step for metrics in status.recent] == [10, 20, 30, 40]


def test_an_attempt_that_has_logged_nothing_stands_where_it_starts(plan: Plan) -> None:
    save(plan, "main", 20)
    log(plan, "main", 10, 20, 30)
    attempt(plan, "main", ("heartbeat", 30, {}))
    LedgerWriter(plan.layout.path("main").ledger).append(
        "start", 20, Counters(), format=FORMAT, path_start=0, device="cpu", processes=2
    )
    status = path_status(plan, plan.graph.by_name["main"])
    assert (status.live_step, [metrics.step for metrics in status.recent]) == (20, [10, 20])
    assert status.tokens_per_second is None, "the speed of another attempt is not this one's"


def test_an_evaluation_of_an_earlier_state_does_not_set_training_back(plan: Plan) -> None:
    attempt(plan, "main", ("checkpoint", 340, {}), ("stop", 200, {"outcome": "interrupted"}))
    assert path_status(plan, plan.graph.by_name["main"]).live_step == 340


def test_a_path_without_records_is_known_by_its_metrics(plan: Plan) -> None:
    assert path_status(plan, plan.graph.by_name["branch-v2"]).live_step == 140
    log(plan, "branch-v2", 150)
    assert path_status(plan, plan.graph.by_name["branch-v2"]).live_step == 150


def minutes_ago(monkeypatch: pytest.MonkeyPatch, minutes: float) -> None:
    """Let that much time pass."""
    now = time.time() + 60 * minutes
    monkeypatch.setattr("lrps.plan.status.time.time", lambda: now)


def test_a_trainer_on_another_host_is_known_by_what_it_writes(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(plan, "main", ("heartbeat", 30, {}))
    lock = plan.layout.path("main").directory / "lock"
    with path_lock(lock.parent):
        pass
    assert state(plan, "main")[0] == "failed", "of this host: its lock is free, so it is dead"
    lock.write_text("process 7 on another-host\n")
    assert state(plan, "main")[0] == "running"
    minutes_ago(monkeypatch, 29)
    status = path_status(plan, plan.graph.by_name["main"])
    assert status.state == "running"
    assert status.silent_seconds == pytest.approx(29 * 60, abs=10)
    minutes_ago(monkeypatch, 31)
    assert state(plan, "main")[0] == "failed", "one that is stuck would have ended"


def test_a_trainer_that_begins_or_ends_during_a_look_was_not_killed(plan: Plan) -> None:
    main = plan.graph.by_name["main"]
    attempt(plan, "main", ("heartbeat", 30, {}))
    findings = Findings(False, None, tuple(read_ledger(plan.layout.path("main").ledger)), ())
    with path_lock(plan.layout.path("main").directory):
        assert status_of(plan, main, findings, locked=False).state == "running", "it began after its lock was looked at"
    assert status_of(plan, main, findings, locked=True).state == "running", "it ended after that"
    assert status_of(plan, main, findings, locked=False).state == "failed"


def test_who_starts_again_after_a_long_time_is_not_silent(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(plan, "main", ("stop", 30, {"outcome": "interrupted"}))
    minutes_ago(monkeypatch, 1000)
    with path_lock(plan.layout.path("main").directory):
        os.utime(plan.layout.path("main").directory / "lock", (time.time() - 5,) * 2)
        status = path_status(plan, plan.graph.by_name["main"])
        assert status.state == "running"
        assert status.silent_seconds == pytest.approx(5, abs=1)
