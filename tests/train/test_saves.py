"""Saves in flight: a kill, a full disk, a NaN and slow disks leave what synchronous saves would have left."""

from __future__ import annotations

import json
import os
import re
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from lrps.audit.run import audit_run
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Record
from lrps.store.checkpoints import complete_checkpoints, find
from lrps.store.layout import PathLayout
from lrps.store.newest import newest_intact
from support.preloaded import start_python

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("saves_worker.py")
STEPS = 28


def main_path(root: Path, name: str) -> PathLayout:
    return PathLayout(root / name / "tiny" / "main")


def start(root: Path, phase: str) -> BaseProcess:
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    return start_python(WORKER, root, phase, stdout=root / f"{phase}.log", env=environment)


def wait_for_step(layout: PathLayout, step: int, worker: BaseProcess, log: Path) -> None:
    deadline = time.monotonic() + 600
    while not (layout.metrics.exists() and any(metrics.step == step for metrics in read_metrics(layout.metrics))):
        assert worker.exitcode is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.05)


@pytest.fixture(scope="module")
def saves(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the worker told, where it worked, and what it had left when it was killed."""
    root = tmp_path_factory.mktemp("saves")
    (root / "config.yaml").write_text(tiny_config.read_text())
    layout = main_path(root, "killed")
    worker = start(root, "killed")
    try:
        wait_for_step(layout, 15, worker, root / "killed.log")
    finally:
        worker.kill()
        worker.join()
    left = sorted(path.name for path in layout.checkpoints.iterdir())
    newest, _ = newest_intact(layout.checkpoints, layout.branch_points)
    worker = start(root, "later")
    worker.join()
    assert worker.exitcode == 0, (root / "later.log").read_text()[-3000:]
    return {"root": root, "left": left, "newest": newest, **json.loads((root / "told.json").read_text())}


def of_kind(layout: PathLayout, *kinds: str) -> list[Record]:
    return [record for record in read_ledger(layout.ledger) if record.kind in kinds]


def assert_equal_ends(saves: dict[str, Any], name: str) -> None:
    plain, other = (main_path(saves["root"], run) for run in ("plain", name))
    assert find(other, STEPS).manifest["files"] == find(plain, STEPS).manifest["files"], "bit for bit"
    losses = [{metrics.step: metrics.loss for metrics in read_metrics(layout.metrics)} for layout in (plain, other)]
    assert losses[0] == losses[1]
    assert audit_run(other.directory.parent).differences == ()


def test_a_kill_leaves_the_previous_checkpoint_and_the_rerun_is_the_same_run(saves: dict[str, Any]) -> None:
    assert saves["left"] == [".tmp-step-00000010", "step-00000005", "step-00000008"]
    assert saves["newest"].step == 8
    layout = main_path(saves["root"], "killed")
    assert saves["again"]["killed"] == "nothing"
    assert [record.step for record in of_kind(layout, "start")] == [0, 8]
    assert_equal_ends(saves, "killed")
    names = {path.name for path in layout.checkpoints.iterdir()}
    assert "step-00000028" in names
    assert not any(name.startswith(".") for name in names), "the leftover is gone"


def test_a_record_says_what_was_saved_and_stands_where_training_stood(saves: dict[str, Any]) -> None:
    layout = main_path(saves["root"], "slow")
    saved = [(record.saved_step, record.step) for record in of_kind(layout, "checkpoint")]
    assert [step for step, _ in saved] == [5, 8, 10, 15, 20, 25, 28]
    assert all(step < stood for step, stood in saved[:-1])
    assert saved[-1] == (28, 28), "a path ends with its last state saved"
    pinned = [(record.saved_step, record.facts["directory"]) for record in of_kind(layout, "branch-point")]
    assert pinned == [(8, "step-00000008"), (28, "step-00000028")]


def test_steps_wait_for_saves_that_are_slower(saves: dict[str, Any]) -> None:
    assert saves["first"]["slow"] == "nothing"
    layout = main_path(saves["root"], "slow")
    stood = {record.saved_step: record.step for record in of_kind(layout, "checkpoint")}
    assert (stood[5], stood[8], stood[10]) == (8, 10, 15), "each one is published when the next one is due"
    assert_equal_ends(saves, "slow")
    last = of_kind(layout, "stop")[-1].counters
    assert last.saving_seconds > 1, "two files of half a second each, at the end alone: the waiting is booked"


@pytest.mark.parametrize(
    ("name", "told", "saved"),
    [
        ("full", r"cannot write .*File too large.* Free disk space", []),
        ("unwritable", r"cannot finish .*step-00000010.*run again", [5, 8]),
    ],
)
def test_what_goes_wrong_in_the_thread_ends_the_attempt(
    saves: dict[str, Any], name: str, told: str, saved: list[int]
) -> None:
    assert re.search("CheckpointError: " + told, saves["first"][name]), saves["first"][name]
    layout = main_path(saves["root"], name)
    (failure,) = of_kind(layout, "failure")
    assert failure.facts["error"] == saves["first"][name]
    first = next(n for n, record in enumerate(of_kind(layout, "checkpoint", "failure")) if record.kind == "failure")
    assert [record.saved_step for record in of_kind(layout, "checkpoint")[:first]] == saved
    assert saves["again"][name] == "nothing"
    assert_equal_ends(saves, name)


def test_a_loss_that_is_not_finite_does_not_lose_the_save_in_flight(saves: dict[str, Any]) -> None:
    assert saves["first"]["not_finite"].startswith("NonFiniteLoss: main: step 6: the loss is nan; ")
    layout = main_path(saves["root"], "not-finite")
    assert [checkpoint.step for checkpoint in complete_checkpoints(layout.checkpoints)] == [5]
    saved, failure = of_kind(layout, "checkpoint", "failure")
    assert (saved.saved_step, saved.step, failure.kind) == (5, 6, "failure")


def test_another_error_drops_the_save_in_flight_and_waits_for_its_thread(saves: dict[str, Any]) -> None:
    assert saves["first"]["broken"] == "LrpsError: a shard vanished"
    layout = main_path(saves["root"], "broken")
    assert [record.step for record in of_kind(layout, "start")] == [0, 0], "nothing was published"
    assert saves["again"]["broken"] == "nothing"
    assert_equal_ends(saves, "broken")
