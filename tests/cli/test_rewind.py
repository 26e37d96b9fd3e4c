"""`lrps rewind` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from support.preloaded import run_lrps as lrps
from support.saved_run import write_saved_run


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A run whose main path has states of steps 50, 60 and 70, and a ledger of one attempt."""
    file = write_saved_run(tmp_path)
    ledger = LedgerWriter(tmp_path / "runs" / "small" / "main" / "ledger")
    facts = {"format": FORMAT, "path": "main", "path_start": 0, "parent": None, "device": "cpu", "processes": 1}
    ledger.append("start", 0, Counters(), **facts)
    ledger.append("heartbeat", 60, Counters(steps=60, training_seconds=3600.0, allocated_seconds=3600.0), loss=1.0)
    ledger.append("heartbeat", 70, Counters(steps=70, training_seconds=7200.0, allocated_seconds=7200.0), loss=1.0)
    ledger.close()
    return file


def test_rewind(config_file: Path) -> None:
    command = ("rewind", str(config_file), "main", "--to", "60", "--skip-from", "65", "--skip-steps", "2")
    command += ("--peak-lr", "0.001", "--for-steps", "30", "--clip-grad-norm", "0.5", "--reason", "spike at 66")
    dry = lrps(*command, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    for text in (
        "main goes back to its state of step 60: amendment 1",
        "states of steps 70 (408 B) move to main/abandoned/1; nothing is deleted",
        "10 steps are abandoned, 1 h of device time: waste, cause rewind",
        "steps 65 to 66 pass without an update",
        "the peak learning rate is 0.001 from step 60 on, for 30 steps",
        "gradients are clipped to a norm of 0.5 instead of 1",
        "from the new history will fork: branch-v2 at step 140",
        "nothing was changed",
    ):
        assert text in dry.stdout
    path_json = config_file.parent / "runs" / "small" / "main" / "path.json"
    assert "amendments" not in json.loads(path_json.read_text())["path"]

    done = lrps(*command)
    assert done.returncode == 0, done.stderr
    (amendment,) = json.loads(path_json.read_text())["path"]["amendments"]
    assert amendment.pop("when")
    asked = {"at": 60, "skip_from": 65, "skip": 2, "peak_lr": 0.001, "for_steps": 30, "clip_grad_norm": 0.5}
    assert amendment == {**asked, "reason": "spike at 66"}
    assert (path_json.parent / "abandoned" / "1" / "checkpoints" / "step-00000070").is_dir()
    again = lrps(*command)
    assert (again.returncode, "main is at step 60 already" in again.stdout) == (0, True)


def test_a_mistake_is_one_message(config_file: Path) -> None:
    refused = lrps("rewind", str(config_file), "main", "--to", "55")
    assert refused.returncode == 2
    assert (
        "main cannot be taken back to step 55: it has no saved state of step 55; the nearest saved ones are 50, 60, 70"
        in refused.stderr
    )
    assert "Traceback" not in refused.stderr
