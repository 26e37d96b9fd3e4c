"""Tests of callbacks: what they are called with, how they stop a path, and what those that change training need."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import lrps
from lrps.base.errors import CallbackError, CallbackStopError, ConfigError, LineageError
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import read_ledger
from lrps.plan.plan import Plan, load_plan
from lrps.plan.status import plan_status, saved_step
from support.plain_engine import run
from support.plugins import forgotten_plugins

NOTING = """
import json
import dataclasses
import lrps

def values(each):
    named = dataclasses.asdict(each).items()
    return {name: value for name, value in named if isinstance(value, (int, float, str, dict))}

@lrps.register_callback("noting")
class Noting(lrps.Callback):
    def __init__(self, file):
        self.file = file

def noting(name):
    def method(self, value):
        with open(self.file, "a") as lines:
            lines.write(json.dumps([name, values(value)], default=str) + "\\n")
    return method

for name in ("begun", "before_step", "after_step", "measured", "logged", "saved", "evaluated", "ended"):
    setattr(Noting, name, noting(name))
"""

STOPPING = """
import lrps

@lrps.register_callback("stopping")
class Stopping(lrps.Callback):
    def __init__(self, path, after=8):
        self.wanted, self.after = path, after
    def begun(self, attempt):
        self.path = attempt.path
    def measured(self, step):
        if self.path == self.wanted and step.step >= self.after:
            return lrps.Stop(f"{step.step} steps are enough")
"""

CHANGING = """
import lrps

@lrps.register_callback("shrinking")
class Shrinking(lrps.Callback):
    changes_training = True
    def __init__(self, factor):
        self.factor = factor
    def use_engine(self, engine):
        self.model = engine.module
    def after_step(self, step):
        for parameter in self.model.parameters():
            parameter.data.mul_(self.factor)
"""


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten_plugins():
        yield


@pytest.fixture
def make_plan(tiny_config: Path, tmp_path: Path) -> Any:
    """A function from the source of a plug-in and changes of a config to a plan."""

    def make(source: str, callbacks: dict[str, Any], **changes: Any) -> Plan:
        (tmp_path / "callback.py").write_text(source)
        values = yaml.safe_load(tiny_config.read_text())
        values |= {"runs": str(tmp_path / "runs"), "plugins": ["callback.py"], "callbacks": callbacks, **changes}
        values.setdefault("engine", {})["read_every"] = 1
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(values))
        return load_plan(file)

    return make


def test_every_event_of_an_attempt_is_seen_in_order(make_plan: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes.jsonl"
    plan = make_plan(NOTING, {"noting": {"file": str(notes)}}, track={"log_every_steps": 4})
    assert run(plan, "main")
    events = [json.loads(line) for line in notes.read_text().splitlines()]
    path = plan.graph.by_name["main"]
    by_name: dict[str, list[Any]] = {}
    for name, values in events:
        by_name.setdefault(name, []).append(values)
    assert [events[0][0], events[-1]] == ["begun", ["ended", {"step": path.stop, "outcome": "complete"}]]
    assert by_name["begun"][0]["path"] == "main"
    steps = list(range(path.stop))
    assert by_name["before_step"] == [{"step": step, "lr": path.rates.lr_at(step)} for step in steps]
    assert [each["step"] for each in by_name["after_step"]] == [step + 1 for step in steps]
    assert [each["step"] for each in by_name["measured"]] == [step + 1 for step in steps]
    layout = plan.layout.path("main")
    assert [each["loss"] for each in by_name["logged"]] == [each.loss for each in read_metrics(layout.metrics)]
    assert [each["step"] for each in by_name["saved"]] == [
        record.saved_step for record in read_ledger(layout.ledger) if record.kind == "checkpoint"
    ]
    start = next(iter(read_ledger(layout.ledger)))
    assert list(start.facts["plugins"]["callbacks"]) == ["noting"]
    assert "plugins" not in json.loads(layout.path_json.read_text())


def test_a_callback_stops_a_path_which_is_saved_and_can_be_continued(make_plan: Any) -> None:
    plan = make_plan(STOPPING, {"stopping": {"path": "straight-v2"}})
    with pytest.raises(CallbackStopError, match=r"straight-v2: the callback stopping stopped it at step \d+: 8 "):
        run(plan, "straight-v2")
    assert CallbackStopError.exit_code == 76
    layout = plan.layout.path("straight-v2")
    *_, last = read_ledger(layout.ledger)
    stopped_at = last.step
    assert 8 <= stopped_at < plan.graph.by_name["straight-v2"].stop
    assert (last.kind, last.facts) == (
        "stop",
        {"outcome": "interrupted", "callback": "stopping", "reason": "8 steps are enough"},
    )
    assert {status.path.name: status.state for status in plan_status(plan)}["straight-v2"] == "interrupted"
    assert saved_step(layout) == stopped_at
    without = make_plan(STOPPING, {})
    assert run(without, "straight-v2")
    assert {status.path.name: status.state for status in plan_status(without)}["straight-v2"] == "complete"


def test_other_paths_of_the_group_are_trained_and_descendants_are_not(make_plan: Any) -> None:
    plan = make_plan(STOPPING, {"stopping": {"path": "cpt-v1"}}, paradigms={"straight": {"kind": "ptfs"}, "cpt": {}})
    with pytest.raises(CallbackStopError):
        run(plan, *plan.graph.by_name)
    states = {status.path.name: status.state for status in plan_status(plan)}
    assert states["cpt-v1"] == "interrupted"
    assert states["straight-v2"] == "complete"
    assert states["cpt-v2"] == "planned", "it continues cpt-v1"


def test_what_changes_training_is_in_the_identity_and_gets_the_engine(make_plan: Any) -> None:
    plan = make_plan(CHANGING, {"shrinking": {"factor": 0.5}})
    assert run(plan, "main")
    layout = plan.layout.path("main")
    recorded = json.loads(layout.path_json.read_text())["plugins"]["callbacks"]["shrinking"]
    assert recorded["options"] == {"factor": 0.5}
    losses = [each.loss for each in read_metrics(layout.metrics)]
    for callbacks in ({"shrinking": {"factor": 0.9}}, {}):
        with pytest.raises(LineageError, match=r"`callbacks.shrinking(.factor)?`: the run was begun with"):
            run(make_plan(CHANGING, callbacks), "main")
    shutil.rmtree(layout.directory)
    assert run(make_plan(CHANGING, {}), "main")
    assert [each.loss for each in read_metrics(layout.metrics)] != losses


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (
            "def saved(self, state): 1 / 0",
            {},
            CallbackError,
            r"callbacks.bad.saved: .*callback.py:5: ZeroDivisionError",
        ),
        ("def begun(self, attempt): return 'stop'", {}, CallbackError, r"begun returns 'stop'; it returns None, or"),
        ("def __init__(self): raise OSError('no')", {}, ConfigError, r"callbacks.bad: .*callback.py:5: OSError: no"),
        ("patience = 3", {"patience": 2}, ConfigError, r"takes no arguments|unexpected keyword argument 'patience'"),
    ],
)
def test_faults_of_callbacks_are_named(
    make_plan: Any, source: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    text = (
        f'import lrps\n@lrps.register_callback("bad")\nclass Bad(lrps.Callback):\n    every_rank = True\n    {source}\n'
    )
    with pytest.raises(error, match=message):
        run(make_plan(text, {"bad": options}), "main")


def test_a_failing_callback_loses_nothing_that_was_saved(make_plan: Any) -> None:
    source = CHANGING.replace("changes_training = True", "every_rank = True").replace(
        "self.model = engine.module", "pass"
    )
    source = source.replace("for parameter in self.model.parameters():", "if step.step == 12:").replace(
        "parameter.data.mul_(self.factor)", "raise RuntimeError('at twelve')"
    )
    plan = make_plan(source, {"shrinking": {"factor": 1}}, checkpoint={"every_steps": 5, "asynchronous": False})
    with pytest.raises(CallbackError, match=r"callbacks.shrinking.after_step: .*RuntimeError: at twelve"):
        run(plan, "main")
    assert run(make_plan(source, {}), "main")
    starts = [record for record in read_ledger(plan.layout.path("main").ledger) if record.kind == "start"]
    assert [(record.facts["origin"], record.step) for record in starts][1] == ("resume", 10)


def test_an_unknown_callback_is_refused(make_plan: Any) -> None:
    with pytest.raises(ConfigError, match=r"must be one of .*noting.*; did you mean 'noting'\?"):
        make_plan(NOTING, {"notng": {}})
    assert lrps.Stop("why").reason == "why"
