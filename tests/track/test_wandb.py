"""A real wandb run, offline, read back with wandb's own inspector."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lrps.config.models import Track
from lrps.track.metrics import Metrics
from lrps.track.wandb import WandbRun

POINT = Metrics(step=10, tokens=160, loss=2.5, lr=1e-3, grad_norm=0.5, tokens_per_second=9.0)


def start(directory: Path, say: list[str], mode: str = "offline") -> WandbRun:
    track = Track.model_validate({"wandb": mode})
    return WandbRun(
        track, plan="demo", path="branch-v2", job="branch", directory=directory, config={"a": 1}, say=say.append
    )


@pytest.mark.slow
def test_an_offline_run_holds_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    said: list[str] = []
    run = start(tmp_path, said)
    run.log(POINT)
    run.log_evaluation(10, 160, {"v1": 2.25})
    run.finish(0)
    assert said == []
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert "demo-branch-v2" in file.name
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--summary", "--json", str(file)]
    summary = json.dumps(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))
    for text in ("train/loss", "2.5", "heldout/v1/loss", "2.25", "branch-v2"):
        assert text in summary


def test_a_wandb_that_fails_is_told_once_and_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def refuse(**_: object) -> None:
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", refuse)
    said: list[str] = []
    run = start(tmp_path, said)
    run.log(POINT)
    run.finish(1)
    assert said == ["wandb: no route to host; training goes on without it, metrics.jsonl has everything"]
