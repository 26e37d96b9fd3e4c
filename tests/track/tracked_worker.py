"""Started by tests/e2e/test_trackers.py: trains a small plan under trackers, in one process.

Usage: tracked_worker.py CONFIG FAILING GONE. The plan FAILING loses its main path in the ninth step and goes on; the
plan GONE is trained in one go.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from lrps.config.loader import load_config
from lrps.engine.deepspeed_engine import process_group
from lrps.plan.plan import make_plan
from lrps.train.job import run_paths
from lrps.train.signals import StopRequest


class FireAfter:
    """Asked for a ninth time whether to stop, the machine breaks."""

    def __init__(self) -> None:
        self.reads = 0

    @property
    def seen(self) -> bool:
        self.reads += 1  # once before the path, then once a step
        if self.reads > 9:
            raise RuntimeError("the machine caught fire")
        return False


if __name__ == "__main__":
    file = Path(sys.argv[1])
    failing, gone = (
        make_plan(load_config(file, [f"name={name}", *more]))
        for name, *more in ((sys.argv[2],), (sys.argv[3], "track.wandb.mode=online", "track.trackers=[wandb]"))
    )
    with process_group():
        with suppress(RuntimeError):
            run_paths(failing, ["main"], FireAfter())  # type: ignore[arg-type]
        assert run_paths(failing, ["main", "branch-v1"], StopRequest())
        assert run_paths(gone, ["main"], StopRequest())
