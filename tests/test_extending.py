"""Tests of docs/extending.md: its plug-ins are taken from the page as they are, and run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import lrps
from lrps.plan.plan import Plan, load_plan
from support.plain_engine import run
from support.plugins import forgotten_plugins


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten_plugins():
        yield


@pytest.fixture
def make_plan(repository: Path, tiny_config: Path, tmp_path: Path) -> Any:
    """A function from changes of a config, which may name every file of the page, to a plan."""
    page = (repository / "docs" / "extending.md").read_text()
    for name, source in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL):
        assert len([line for line in source.splitlines() if line.strip()]) <= 25, f"{name} is no small example"
        (tmp_path / name).write_text(source)
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        assert all((tmp_path / name).exists() for name in yaml.safe_load(block)["plugins"])

    def make(**changes: Any) -> Plan:
        values = yaml.safe_load(tiny_config.read_text()) | {"runs": str(tmp_path / "runs"), **changes}
        values.setdefault("engine", {})["read_every"] = 1
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(values))
        return load_plan(file)

    return make


def test_the_decay_shape(make_plan: Any) -> None:
    plan = make_plan(plugins=["shapes.py"], paradigms={"path-switching": {"decay": "quadratic"}})
    branch = plan.graph.by_name["branch-v2"]
    half = branch.start + branch.steps // 2
    assert branch.schedule.lr_at(half) == pytest.approx(branch.lr_start / 4)
    assert run(plan, "main", "branch-v1")


def test_the_paradigm(make_plan: Any) -> None:
    plan = make_plan(plugins=["separate.py"], paradigms={"separate": {"alpha": 0.5, "shrink": 2}})
    assert run(plan, *plan.graph.by_name)
    assert lrps.compare(plan).to_frame().iloc[0, 0] == "separate"


def test_the_callback_that_stops_early(make_plan: Any) -> None:
    changes = {"paradigms": {"straight": {"kind": "ptfs"}}, "track": {"log_every_steps": 2}}
    plan = make_plan(plugins=["early_stop.py"], callbacks={"early-stop": {"patience": 2, "least": 100.0}}, **changes)
    with pytest.raises(lrps.CallbackStopError, match="the loss has not fallen below"):
        run(plan, "straight-v1")


@pytest.mark.long
def test_the_mlflow_tracker(make_plan: Any, mlflow_server: str) -> None:
    from mlflow import MlflowClient

    track = {"trackers": ["my-mlflow"], "options": {"my-mlflow": {"uri": mlflow_server}}, "log_every_steps": 4}
    plan = make_plan(name="documented", plugins=["mlflow_tracker.py"], track=track)
    assert run(plan, "main")
    client = MlflowClient(mlflow_server)
    (experiment,) = [each for each in client.search_experiments() if each.name.startswith("documented")]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "main"
    assert found.info.status == "FINISHED"
    steps = [each.step for each in client.get_metric_history(found.info.run_id, "train/loss")]
    assert set(range(4, plan.graph.by_name["main"].stop + 1, 4)) <= set(steps)
