"""Started by test_trainer.py under the deepspeed launcher: trains small plans through every law in one process group.

Usage: laws_worker.py DIRECTORY. Writes DIRECTORY/<case>/runs/... and DIRECTORY/<case>/resumed/...; the test compares.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

from lrps.config.loader import load_config
from lrps.engine.deepspeed_engine import process_group
from lrps.engine.ranks import ask_rank_zero
from lrps.plan import Plan, make_plan
from lrps.train.job import run_paths
from lrps.train.signals import StopRequest

CRASHED_AFTER = 5
"""The copied run has no checkpoint beyond this step."""


def run(plan: Plan, *names: str) -> None:
    assert run_paths(plan, names, StopRequest(), since=time.time())


def file_hashes(directory: Path) -> dict[str, str]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def crash(run_dir: Path, into: Path) -> None:
    """Copy a run as a crash after CRASHED_AFTER would have left it."""
    shutil.copytree(run_dir, into, symlinks=True)
    for checkpoint in into.glob("*/*/step-*"):
        if int(checkpoint.name.removeprefix("step-")) > CRASHED_AFTER:
            shutil.rmtree(checkpoint)


def laws(config_file: Path, directory: Path, settings: list[str]) -> None:
    runs = f"runs={directory / 'runs'}"
    plan = make_plan(load_config(config_file, [*settings, runs]))
    run(plan, "main")
    main = plan.layout.path("main").directory
    before = ask_rank_zero(lambda: file_hashes(main))
    run(plan, "branch-v1", "branch-v2", "straight-v1")
    after = ask_rank_zero(lambda: file_hashes(main))
    ask_rank_zero(lambda: (directory / "parent.json").write_text(json.dumps([before, after])))
    ask_rank_zero(lambda: crash(plan.layout.run_dir, directory / "resumed" / plan.layout.run_dir.name))
    resumed = make_plan(load_config(config_file, [*settings, f"runs={directory / 'resumed'}"]))
    run(resumed, "main", "straight-v1")


if __name__ == "__main__":
    root = Path(sys.argv[1])
    with process_group():
        for case in json.loads((root / "cases.json").read_text()):
            laws(root / "config.yaml", root / case["name"], case["settings"])
