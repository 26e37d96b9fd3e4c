"""What a webhook gets of training: finished versions, failures and spent budgets, each once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import BudgetError, DataError
from lrps.config.loader import load_config
from lrps.ledger.reader import EMA, RAW, read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.train.path_notices import PathNotices
from support.plain_engine import before_steps, run
from support.raw_evaluations import raw_evaluations
from support.webhooks import Receiver, receiver


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiver() as server:
        monkeypatch.setenv("LRPS_NOTIFY_URL", server.url)
        yield server


def plan_of(config: Path, root: Path, *settings: str) -> Plan:
    return make_plan(load_config(config, [f"runs={root / 'runs'}", "track.notify={}", *settings]))


def test_a_version_is_finished_once_it_is_evaluated(tiny_config: Path, tmp_path: Path, hook: Receiver) -> None:
    plan = plan_of(tiny_config, tmp_path)
    assert not run(plan, "main", stop_after=9)
    assert run(plan, "main")
    assert hook.received == [], "the main path releases nothing, and a stop is no event"
    assert run(plan, "branch-v1")
    (body,) = hook.received
    stop = plan.graph.by_name["branch-v1"].stop
    assert hook.events == [("version", "branch-v1", "v1", stop)]
    found = raw_evaluations(read_ledger(plan.layout.path("branch-v1").ledger))
    assert body["heldout"] == {version: evaluation.loss for (_, version), evaluation in found.items()}
    assert body["loss"] == body["heldout"]["v1"]
    assert body["text"] == f"tiny: version v1 is finished: branch-v1 at step {stop}, loss {body['loss']:.4f}"
    assert run(plan, "branch-v1")
    assert len(hook.received) == 1


def test_a_version_without_a_held_out_set_is_finished_once_it_is_saved(
    tiny_config: Path, tmp_path: Path, hook: Receiver
) -> None:
    plan = plan_of(tiny_config, tmp_path)
    vars(plan)["heldout"] = {}
    assert run(plan, "main", "branch-v1")
    assert hook.events == [("version", "branch-v1", "v1", plan.graph.by_name["branch-v1"].stop)]
    assert hook.received[0].keys() == {"event", "plan", "path", "step", "version", "text", "time"}


@pytest.mark.parametrize("supervised", [True, False])
def test_a_failure_is_reported_unless_the_supervisor_does(
    tiny_config: Path, tmp_path: Path, hook: Receiver, monkeypatch: pytest.MonkeyPatch, supervised: bool
) -> None:
    if supervised:
        monkeypatch.setenv("LRPS_SUPERVISED", "1")
    plan = plan_of(tiny_config, tmp_path)

    def fail(step: int) -> None:
        if step == 7:
            raise RuntimeError("s3cret of an address")

    with before_steps(fail), pytest.raises(RuntimeError):
        run(plan, "main")
    expected: list[Any] = [] if supervised else [("failure", "main", None, 7)]
    assert hook.events == expected
    assert [body["error"] for body in hook.received] == ["RuntimeError"] * len(expected)


def test_a_failure_before_the_first_record_is_reported(tiny_config: Path, tmp_path: Path, hook: Receiver) -> None:
    plan = plan_of(tiny_config, tmp_path)
    del plan.manifests["v1"]
    with pytest.raises(DataError):
        run(plan, "main")
    assert [(body["event"], body["path"], body["step"], body["error"]) for body in hook.received] == [
        ("failure", "main", None, "DataError")
    ]


def test_a_spent_budget_is_reported_once(tiny_config: Path, tmp_path: Path, hook: Receiver) -> None:
    plan = plan_of(tiny_config, tmp_path, "budget={device_hours: 1e-7}")
    with pytest.raises(BudgetError):
        run(plan, "main", "branch-v1")
    assert hook.events == [("budget", "main, branch-v1", None, None)]


def test_a_server_that_is_down_changes_nothing_of_training(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LRPS_NOTIFY_URL", "http://127.0.0.1:9/s3cret")
    plan = plan_of(tiny_config, tmp_path)
    assert run(plan, "main", "branch-v1", "branch-v2")
    said = capsys.readouterr().out
    assert said.count("track.notify: http://127.0.0.1:9 got no message") == 1
    assert "s3cret" not in said


def test_the_loss_of_a_finished_version_is_that_of_the_form_that_is_released(tiny_config: Path) -> None:
    settings = ["average={ema: {}}", "paradigms={path-switching: {release: ema}}"]
    plan = make_plan(load_config(tiny_config, settings))
    told: list[Any] = []
    notices = PathNotices(plan, plan.graph.by_name["main"], lambda kind, facts: told.append((kind, facts["loss"])))
    notices.evaluated(20, {"v1": {"loss": 3.0}}, RAW)
    notices.evaluated(20, {"v1": {"loss": 2.0}}, EMA)
    assert told == [("version", 2.0)]
