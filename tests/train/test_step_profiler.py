"""The trace that the profiler writes: which steps are in it, and that training is the same with it."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.config.loader import load_config
from lrps.ledger.metrics import read_metrics
from lrps.plan.plan import Plan, make_plan
from lrps.store.checkpoints import complete_checkpoints
from lrps.store.copy.transfer import push_run
from support.plain_engine import run

Make = Callable[[str], Plan]


@pytest.fixture
def make(tiny_config: Path, tmp_path: Path) -> Make:
    """make(name) -> the tiny plan with its runs in a folder of this name."""
    return lambda name: make_plan(load_config(tiny_config, [f"runs={tmp_path / name}"]))


def traces(plan: Plan) -> dict[str, list[str]]:
    """Trace -> the steps in it, in order of time; names of folders relative to the run."""
    found = {}
    for file in sorted(plan.layout.run_dir.rglob("profile/*")):
        with gzip.open(file) as content:
            events = json.load(content)["traceEvents"]
        steps = [event for event in events if re.fullmatch("step [0-9]+", event.get("name", "")) and event["ph"] == "X"]
        assert any("backward" in event.get("name", "").lower() for event in events), "the operators of a step"
        found[str(file.relative_to(plan.layout.run_dir))] = [
            event["name"] for event in sorted(steps, key=lambda event: event["ts"])
        ]
    return found


def test_a_trace_has_the_steps_after_the_warm_up(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make("profiled")
    assert run(plan, "main", "branch-v1", profile=3)
    assert traces(plan) == {"main/profile/steps-6-8.json.gz": ["step 6", "step 7", "step 8"]}
    file = plan.layout.path("main").profile / "steps-6-8.json.gz"
    assert f"trace of steps 6 to 8: {file}; open it at https://ui.perfetto.dev" in capsys.readouterr().out
    push_run(plan.layout.run_dir, str(plan.layout.run_dir.parent / "copy"))
    assert not list((plan.layout.run_dir.parent / "copy").rglob("*profile*"))


def test_training_is_the_same_with_a_trace(make: Make) -> None:
    plans = make("plain"), make("profiled")
    for plan, steps in zip(plans, (None, 4), strict=True):
        assert run(plan, "main", profile=steps)
    metrics, files = [], []
    for plan in plans:
        layout = plan.layout.path("main")
        metrics.append([(each.step, each.loss, each.grad_norm) for each in read_metrics(layout.metrics)])
        checkpoint = complete_checkpoints(layout.checkpoints)[-1]
        files.append({f.name: f.read_bytes() for f in checkpoint.directory.glob("*.safetensors")})
    assert metrics[0] == metrics[1]
    assert files[0] == files[1]
    assert files[0]


def test_a_path_that_ends_earlier_has_a_shorter_trace_or_leaves_it_to_the_next(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make("profiled")
    assert not run(plan, "main", stop_after=4, profile=3)
    assert traces(plan) == {}
    assert "no trace: 4 steps were trained, and the first 5 are not in one" in capsys.readouterr().out
    assert not run(plan, "main", stop_after=7, profile=30)
    assert traces(plan) == {"main/profile/steps-10-11.json.gz": ["step 10", "step 11"]}
    assert run(plan, "main")
    assert len(traces(plan)) == 1


def test_a_trace_that_cannot_be_written_does_not_end_training(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make("profiled")
    plan.layout.path("main").directory.mkdir(parents=True)
    plan.layout.path("main").profile.touch()
    assert run(plan, "main", profile=1)
    assert "the trace of steps 6 to 6 was not written: " in capsys.readouterr().out
