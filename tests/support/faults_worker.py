"""What tests/e2e/test_faults.py runs in processes of its own: one rank of a process group, without a launcher.

Imported by name: pytest puts this folder on the path (pyproject.toml).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lrps.config.loader import load_config
from lrps.plan.plan import make_plan
from lrps.train.job import run_job


def run_rank(file: Path, settings: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Train all paths of a config as the rank that `environment` says."""
    os.environ.update(environment)
    with open(log, "a") as told:
        os.dup2(told.fileno(), 1)
        os.dup2(told.fileno(), 2)
    plan = make_plan(load_config(file, settings))
    assert run_job(plan, [path.name for path in plan.graph.paths])
