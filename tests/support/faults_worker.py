"""Work of the processes that tests/e2e/test_faults.py forks: a rank of a process group, and verbs that read a run."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lrps.cli.entry import _main, main
from lrps.config.loader import load_config
from lrps.engine.deepspeed_engine import Engine
from lrps.ledger import writer
from lrps.plan.plan import make_plan
from lrps.train.watches import spike_guard
from support.wild_losses import losses_times


@dataclass(frozen=True)
class Plant:
    """What happens inside a rank before one of its optimizer steps, which are counted from 1 over all paths."""

    before: int
    what: str
    """`halt`: wait until the process is killed. `nan`: a weight is NaN. `clock`: the wall clock jumps. `break`: the
    update of lineage step `before` breaks the weights, in every path that takes it. `spike`: the loss is finite and
    wild, in the first step from this one on that a guard judges."""
    seconds: float = 0.0
    """Length of the jump of the clock."""


@contextmanager
def planted(plant: Plant) -> Iterator[None]:
    """Within the context, do what the plant says."""
    train_step, taken, steps, spiked = Engine.train_step, 0, list[int](), list[int]()

    def step(engine: Engine, *arguments: Any, **more: Any) -> bool:
        nonlocal taken
        taken += 1
        steps.append(more["step"])
        if plant.what == "break" and more["step"] == plant.before:
            more["lr"] = 1e38
        elif plant.what == "spike" and not spiked and taken >= plant.before and _is_judged(steps):
            spiked.append(taken)
        elif plant.what in _DEEDS and taken == plant.before:
            _DEEDS[plant.what](engine, plant)
        return train_step(engine, *arguments, **more)

    with losses_times(lambda _: WILD if taken in spiked else 1.0), patch.object(Engine, "train_step", step):
        yield


WILD = 1e8
"""Factor of a loss that is finite and that no guard takes for noise."""


def _is_judged(steps: Sequence[int]) -> bool:
    """Return True if the guard has seen steps of this segment and path in this attempt: versions have 20 steps."""
    return len(steps) > 2 and steps[-1] == steps[-3] + 2 and steps[-1] % 20 > 2


def _halt(_: Engine, __: Plant) -> None:
    threading.Event().wait()


def _spoil(engine: Engine, _: Plant) -> None:
    next(engine._engine.module.parameters()).data.fill_(float("nan"))


def _set_clock(_: Engine, plant: Plant) -> None:
    """Let the wall clock jump: that of Python's modules and that of the ledger's times."""
    real = time.time

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=plant.seconds)

    time.time = lambda: real() + plant.seconds
    writer.datetime = Clock  # type: ignore[misc]


_DEEDS: dict[str, Callable[[Engine, Plant], None]] = {"halt": _halt, "nan": _spoil, "clock": _set_clock}


def run_rank(
    file: Path,
    settings: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    plant: Plant | None = None,
    wild: Mapping[int, float] | None = None,
) -> None:
    """Train all paths of a config with `lrps train`, as the rank in `environment`, until the end or what is planted.

    wild: as for `Attempt`.
    """
    os.environ.update(environment)
    _write_to(log)
    names = [path.name for path in make_plan(load_config(file, settings)).graph.paths]
    sys.argv = ["lrps", "train", str(file), *names, *(word for each in settings for word in ("-s", each))]
    with ExitStack() as stack:
        if wild is not None:
            spike_guard.JUDGED_FROM = 1
            stack.enter_context(losses_times(lambda step: wild.get(step, 1.0)))
        if plant is not None:
            stack.enter_context(planted(plant))
        main()


VERBS = (
    *("status CONFIG --json", "ledger verify CONFIG", "ledger show CONFIG", "data audit CONFIG"),
    *("report CONFIG --format json", "prune CONFIG --dry-run", "plan CONFIG --json"),
)
"""Verbs that read a run."""


def rewind_run(words: Sequence[str], log: Path, result: Path) -> None:
    """Run `lrps rewind` with these words, and write its exit code to `result`."""
    _write_to(log)
    result.write_text(json.dumps(_exit_code(Path(words[0]), " ".join(("rewind CONFIG", *words[1:], "--yes")))))


def read_run(file: Path, verbs: Sequence[str], log: Path, result: Path) -> None:
    """Write the exit code of each of these verbs to `result`; None for one that raised."""
    _write_to(log)
    result.write_text(json.dumps({verb: _exit_code(file, verb) for verb in verbs}))


def _exit_code(file: Path, verb: str) -> int | None:
    sys.argv = ["lrps", *(str(file) if word == "CONFIG" else word for word in verb.split())]
    try:
        _main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return None
    return 0


def _write_to(log: Path) -> None:
    """Let the output of this process be appended to a file."""
    with open(log, "a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
