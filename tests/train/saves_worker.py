"""Started by test_saves.py: the main path of a small plan on one rank, with saves that are held up, fail or are slow.

Usage: saves_worker.py DIRECTORY killed|later. `killed` never ends: its save of step 10 stays in flight, and it waits
for that before the save of step 15.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lrps.base.errors import LrpsError, NonFiniteLoss
from lrps.config.loader import load_config
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.plan.plan import make_plan
from lrps.store import checkpoints
from lrps.store.checkpoints import directory_name
from lrps.train.job import run_paths
from lrps.train.signals import StopRequest


def run(root: Path, name: str, *settings: str) -> str:
    """Train the main path in DIRECTORY/<name>; what went wrong."""
    plan = make_plan(load_config(root / "config.yaml", [f"runs={root / name}", "engine.zero_stage=1", *settings]))
    try:
        assert run_paths(plan, ["main"], StopRequest())
    except LrpsError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


@contextmanager
def hashing(wait: Callable[[int], Any]) -> Iterator[None]:
    """Call `wait` with the step before a file of its checkpoint is hashed."""
    original = checkpoints.fsync_and_hash

    def late(path: Path) -> dict[str, Any]:
        wait(int(path.parent.name.rpartition("-")[2]))
        return original(path)

    with patch.object(checkpoints, "fsync_and_hash", late):
        yield


@contextmanager
def training(before: Callable[[int], None]) -> Iterator[None]:
    """Call `before` with the number of steps that are done before each step."""
    train_step = Engine.train_step

    def later(engine: Engine, *arguments: Any, step: int, **more: Any) -> bool:
        before(step)
        return train_step(engine, *arguments, step=step, **more)

    with patch.object(Engine, "train_step", later):
        yield


def killed(root: Path) -> None:
    assert run(root, "plain", "checkpoint.asynchronous=false") == "nothing"
    never = threading.Event()
    with hashing(lambda step: step == 10 and never.wait()):
        run(root, "killed")


def not_finite(root: Path) -> str:
    """The loss of the seventh step is none, while the state of step 5 is being written."""
    go_on = threading.Event()

    def before(step: int) -> None:
        if step == 6:
            go_on.set()
            raise NonFiniteLoss("step 6: the loss is nan")

    with hashing(lambda step: step == 5 and go_on.wait()), training(before):
        return run(root, "not-finite")


def broken(root: Path) -> str:
    """Another error in the seventh step: the other ranks are not there to publish with."""
    held = threading.Event()

    def before(step: int) -> None:
        if step == 6:
            threading.Timer(0.2, held.set).start()
            raise LrpsError("a shard vanished")

    with hashing(lambda step: step == 5 and held.wait()), training(before):
        return run(root, "broken")


def full(root: Path) -> str:
    """No file can grow beyond 16 kB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16384, limits[1]))
    try:
        return run(root, "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def unwritable(root: Path) -> str:
    """What the save of step 10 writes into is gone."""
    directory = root / "unwritable" / "tiny" / "main" / "checkpoints" / f".tmp-{directory_name(10)}"
    with hashing(lambda step: step == 10 and [file.unlink() for file in directory.iterdir()]):
        return run(root, "unwritable")


def slow(root: Path) -> str:
    """Every save takes longer than the steps to the next one."""
    following, done = dict(pairwise((5, 8, 10, 15, 20, 25, 28))), 0

    def before(step: int) -> None:
        nonlocal done
        done = step

    def late(step: int) -> None:
        while done < following.get(step, 0) - 1:
            time.sleep(0.01)
        time.sleep(0.5)

    with hashing(late), training(before):
        return run(root, "slow")


def later(root: Path) -> None:
    cases = (not_finite, broken, full, unwritable, slow)
    first = {case.__name__: case(root) for case in cases}
    again = {name: run(root, name) for name in ("killed", "broken", "full", "unwritable")}
    (root / "told.json").write_text(json.dumps({"first": first, "again": again}))


if __name__ == "__main__":
    with process_group():
        {"killed": killed, "later": later}[sys.argv[2]](Path(sys.argv[1]))
