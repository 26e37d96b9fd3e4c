"""Started by test_laws_together.py under the deepspeed launcher: a straight run, and one that is stopped again and
again, both with average, guard, held-out curve and an amendment.

Usage: together_worker.py CONFIG DIRECTORY SETTING... Writes DIRECTORY/straight/... and DIRECTORY/resumed/...
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from lrps.engine.deepspeed_engine import process_group
from lrps.engine.ranks import ask_rank_zero
from lrps.plan.plan import Plan
from lrps.plan.rewind import rewind
from lrps.plan.status import path_status
from lrps.train.job import run_paths
from lrps.train.signals import StopRequest
from lrps.train.watches import spike_guard
from support.laws_together import CHANGE, PATHS, WILD, planned
from support.plain_engine import StopAfter
from support.wild_losses import losses_times


def run(plan: Plan, *names: str) -> None:
    assert run_paths(plan, names, StopRequest())


def stop_often(plan: Plan, name: str) -> None:
    """Stop after every second step, on all ranks: each attempt resumes from what the one before has saved."""
    path = plan.graph.by_name[name]
    while ask_rank_zero(lambda: path_status(plan, path).step) < path.stop - 2:
        assert not run_paths(plan, [name], StopAfter(2))  # type: ignore[arg-type]


def taken_back(plan: Plan) -> Plan:
    ask_rank_zero(lambda: rewind(plan, "main", CHANGE) and None)
    return replace(plan)


def straight(plan: Plan) -> None:
    run(plan, "main", "branch-v1")
    run(taken_back(plan), *PATHS)


def resumed(plan: Plan) -> None:
    stop_often(plan, "main")
    run(plan, "main", "branch-v1")
    plan = taken_back(plan)
    stop_often(plan, "main")
    run(plan, "main")
    stop_often(plan, "branch-v2")
    run(plan, *PATHS)


if __name__ == "__main__":
    file, root, *settings = sys.argv[1:]
    spike_guard.JUDGED_FROM = 5  # Versions have 20 steps.
    with losses_times(lambda step: WILD.get(step, 1.0)), process_group():
        straight(planned(Path(file), Path(root) / "straight", *settings))
        resumed(planned(Path(file), Path(root) / "resumed", "engine.read_every=1", *settings))
