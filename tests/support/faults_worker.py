"""One rank of a process group without a launcher, which tests/e2e/test_faults.py runs in processes of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lrps.config.loader import load_config
from lrps.engine.deepspeed_engine import Engine
from lrps.plan.plan import make_plan
from lrps.train.job import run_job


@contextmanager
def halting(before: int) -> Iterator[None]:
    """Within the context, wait before the step `before` of a path until the process is killed."""
    train_step = Engine.train_step

    def halted(engine: Engine, *arguments: Any, step: int, **more: Any) -> bool:
        if step == before:
            threading.Event().wait()
        return train_step(engine, *arguments, step=step, **more)

    with patch.object(Engine, "train_step", halted):
        yield


def run_rank(
    file: Path, settings: Sequence[str], environment: Mapping[str, str], log: Path, halt: int | None = None
) -> None:
    """Train all paths of a config as the rank in `environment`, or until the step `halt` of the first path."""
    os.environ.update(environment)
    with open(log, "a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    plan = make_plan(load_config(file, settings))
    with nullcontext() if halt is None else halting(halt):
        assert run_job(plan, [path.name for path in plan.graph.paths])
