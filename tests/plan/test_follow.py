"""Following a run look by look says what reading all of it says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lrps.base.files import atomic_write_json
from lrps.base.locks import path_lock
from lrps.config.models import Config
from lrps.ledger.metrics import Metrics, MetricsWriter
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.plan.follow import Follower
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import PathStatus, plan_status
from lrps.store import checkpoints


@pytest.fixture
def plan(make_config: Callable[..., Config], tmp_path: Path) -> Plan:
    return make_plan(make_config(runs=str(tmp_path)))


def same(followed: tuple[PathStatus, ...], plan: Plan) -> bool:
    """True if a look says what reading everything says; how long ago it was aside."""
    one, other = ([replace(s, silent_seconds=None) for s in statuses] for statuses in (followed, plan_status(plan)))
    return one == other


class Trainer:
    """Writes what the trainer of a path writes, where it is told to."""

    def __init__(self, plan: Plan, name: str, start: int) -> None:
        self.plan, self.path = plan, plan.graph.by_name[name]
        self.layout = plan.layout.path(name)
        self.layout.directory.mkdir(parents=True, exist_ok=True)
        atomic_write_json(self.layout.path_json, plan.identity(self.path))
        self.ledger, self.metrics = LedgerWriter(self.layout.ledger), MetricsWriter(self.layout.metrics)
        self.start = start
        facts = {"format": FORMAT, "path_start": self.path.start, "device": "cpu", "processes": 2}
        self.ledger.append("start", start, Counters(), **facts)

    def log(self, step: int) -> None:
        self.metrics.write(Metrics(step, step * 16, step / 7, 1e-3, None, 160.0))
        self.record("heartbeat", step)

    def record(self, kind: str, step: int, **facts: object) -> None:
        steps = step - self.start
        self.ledger.append(kind, step, Counters(steps=steps, allocated_seconds=steps / 5), **facts)

    def save(self, step: int) -> None:
        temporary = checkpoints.begin(self.layout.checkpoints, step)
        (temporary / "data").write_bytes(b"weights")
        checkpoints.publish(temporary, step, {"data": checkpoints.fsync_and_hash(temporary / "data")}, {})
        self.record("checkpoint", step)


def test_every_look_says_what_reading_everything_says(plan: Plan) -> None:
    follower = Follower(plan)
    assert same(follower.look(), plan), "there is no run directory yet"
    with path_lock(plan.layout.path("main").directory):
        assert same(follower.look(), plan), "it starts"
        trainer = Trainer(plan, "main", 0)
        assert same(follower.look(), plan)
        for step in (10, 20, 30):
            trainer.log(step)
            assert same(follower.look(), plan)
            if step == 20:
                trainer.save(step)
                assert same(follower.look(), plan)
        assert follower.look()[0].step == 20
    assert follower.look()[0].state == "failed"
    assert same(follower.look(), plan)
    again = Trainer(plan, "main", 20)
    assert same(follower.look(), plan), "it goes on from its checkpoint"
    for step in range(30, 341, 10):
        again.log(step)
    again.save(340)
    again.record("stop", 340, outcome="complete")
    assert same(follower.look(), plan)
    assert (follower.look()[0].state, follower.look()[0].live_step) == ("complete", 340)
    shutil.rmtree(plan.layout.run_dir)
    assert same(follower.look(), plan), "somebody deleted it"


def test_a_look_that_finds_nothing_new_reads_no_ledger(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(plan, "main", 0)
    for step in range(10, 300, 10):
        trainer.log(step)
    trainer.save(20)
    follower = Follower(plan)
    before = follower.look()
    parsed: list[bytes] = []
    monkeypatch.setattr("lrps.ledger.reader.parse", lambda line, *_: parsed.append(line))
    monkeypatch.setattr(
        "lrps.plan.follow.saved_steps", lambda *_: pytest.fail("it has looked at the checkpoints again")
    )
    after = follower.look()
    assert parsed == []
    assert [replace(s, silent_seconds=None) for s in after] == [replace(s, silent_seconds=None) for s in before]


def test_what_cannot_be_read_is_told_and_the_rest_stays(plan: Plan) -> None:
    trainer = Trainer(plan, "main", 0)
    trainer.log(10)
    follower = Follower(plan)
    follower.look()
    trainer.layout.metrics.unlink()
    trainer.layout.metrics.mkdir()
    status, *others = follower.look()
    assert "cannot be read now" in (status.trouble or "")
    assert status.live_step == 10, "what was known"
    assert {other.trouble for other in others} == {None}
    assert "cannot be read now" in (Follower(plan).look()[0].trouble or ""), "at the first look, too"
    trainer.layout.metrics.rmdir()
    assert follower.look()[0].trouble is None


def test_a_ledger_that_was_changed_is_told(plan: Plan) -> None:
    trainer = Trainer(plan, "main", 0)
    trainer.record("checkpoint", 10)
    trainer.record("checkpoint", 20)
    file = trainer.ledger.path
    file.write_bytes(file.read_bytes().replace(b'"step":10', b'"step":11'))
    status = Follower(plan).look()[0]
    assert str(file) in (status.trouble or "")
    assert status.live_step == 20
