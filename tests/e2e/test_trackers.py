"""Real training under all trackers: a path that fails and goes on, and a server that goes away meanwhile."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from track.wandb_files import console, history, run_files, summary
from track.wandb_server import Run, WandbServer

from lrps.ledger.metrics import read_metrics
from lrps.store.marks import read_mark, with_mark

pytestmark = pytest.mark.slow

WORKER = Path(__file__).parents[1] / "track" / "tracked_worker.py"
FAILED, REPEATED = list(range(1, 9)), list(range(6, 29))
"""Logged steps of main's two attempts: it failed after 8 and went on from a checkpoint at 5."""


@dataclass(frozen=True)
class Trained:
    """What is left of it all."""

    runs: Path
    said: str
    seen: Run
    """The run as the server heard of it, before it went away."""


@pytest.fixture(scope="module")
def trained(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    directory = tmp_path_factory.mktemp("trackers")
    values = {
        **yaml.safe_load(tiny_config.read_text()),
        "runs": str(directory / "runs"),
        "paradigms": {"path-switching": {"alpha": 0.6}},
        "launch": {"processes": 1},
        "evaluation": {"main_every_steps": None},
        "track": {"log_every_steps": 1, "trackers": ["wandb", "tensorboard", "trackio"]},
    }
    file = directory / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "TRACKIO_"))}
    for name in ("CACHE", "CONFIG", "DATA"):
        kept[f"WANDB_{name}_DIR"] = str(directory / "wandb")
    kept |= {"WANDB_API_KEY": "0123456789" * 4, "WANDB_FINISH_TIMEOUT": "1", "OMP_NUM_THREADS": "1"}
    with WandbServer(lambda server, run: server.close()) as server:
        command = [sys.executable, str(WORKER), str(file), "failing", "gone"]
        done = subprocess.run(command, env={**kept, "WANDB_BASE_URL": server.url}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        path_mark = read_mark(directory / "runs" / "gone" / "main" / "path.json")
        return Trained(directory / "runs", done.stdout, server.runs[with_mark("gone-main", path_mark)])


def steps(rows: list[dict[str, float]]) -> list[float]:
    return [row["step"] for row in rows if "train/loss" in row]


def test_an_offline_wandb_has_every_step_of_both_attempts(trained: Trained) -> None:
    main = trained.runs / "failing" / "main"
    files = run_files(main)
    first, second = (history(file) for file in files)
    assert (steps(first), steps(second)) == (FAILED, REPEATED)
    assert [summary(file)["exit_code"] for file in files] == [1, 0]
    newest = {row["step"]: row["train/loss"] for row in (*first, *second)}
    assert newest == {metrics.step: metrics.loss for metrics in read_metrics(main / "metrics.jsonl")}
    assert [console(file)[0] for file in files] == [
        "main: steps 0 to 28, from the initial weights",
        "main: steps 5 to 28, resumed from main at step 5",
    ]
    assert console(files[0])[-1] == "main: RuntimeError at step 8"
    assert [summary(file)["tags"] for file in files] == [["path-switching"]] * 2
    hours = [row["cost/device_hours"] for row in (*first, *second)]
    assert hours == sorted(hours), "costs of the failed attempt count"


def test_the_lineage_is_in_the_config(trained: Trained) -> None:
    (file,) = run_files(trained.runs / "failing" / "branch-v1")
    lineage = summary(file)["config"]["lineage"]
    assert lineage.items() >= {"parent": "main", "branch_point_step": 8, "branch_point_tokens": 8 * 64}.items()
    identity = json.loads((trained.runs / "failing" / "branch-v1" / "path.json").read_text())
    assert lineage["manifests"] == {name: told["manifest_sha256"] for name, told in identity["sources"].items()}
    evaluated = [row for row in history(file) if "heldout/v1/loss" in row]
    assert [row["step"] for row in evaluated] == [20]


def test_tensorboard_and_trackio_have_them_too(trained: Trained) -> None:
    events = EventAccumulator(str(trained.runs / "failing" / "main" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 29))
    run = trained.runs / "failing"
    project, name = (
        with_mark("failing", read_mark(run / "run.json")),
        with_mark("main", read_mark(run / "main" / "path.json")),
    )
    with sqlite3.connect(run / "trackio" / f"{project}.db") as data:
        found = data.execute("select step from metrics where run_name = ? order by id", (name,)).fetchall()
    assert [step for (step,) in found] == [*FAILED, *REPEATED]


def test_training_goes_on_without_the_server(trained: Trained) -> None:
    assert trained.seen.values["displayName"] == "main"
    assert (trained.seen.history, trained.seen.exit_code) == ([], None)
    (file,) = run_files(trained.runs / "gone" / "main", "run")
    assert steps(history(file)) == [m.step for m in read_metrics(trained.runs / "gone" / "main" / "metrics.jsonl")]
    assert steps(history(file)) == list(range(1, 29))
