"""Compiled strategies for increments of given numbers of steps, and the rows that their paths read."""

from __future__ import annotations

from typing import Any

from lrps.config.models import Config
from lrps.paths.graph import Paradigm, TrainingPath
from lrps.paths.increments import Increment, RehearsalSet
from lrps.paths.paradigms.compile import compile_paradigm
from support.values import config_values


def increments(*steps: int, spare: int = 1) -> list[Increment]:
    """Return increments v1, v2 and so on of these numbers of steps of 2 rows, each with `spare` rows left over."""
    return [Increment(f"v{k}", 2 * t + spare, t) for k, t in enumerate(steps, 1)]


def compiled(steps: list[int], **strategy: Any) -> Paradigm:
    """Return the compiled paradigm of one strategy, named after its kind, for increments of these numbers of steps.

    strategy: keys of the strategy, and `schedule`, and `sets` with (name, rows, since) of every rehearsal set.
    """
    kind, sets = strategy.pop("kind", "path-switching"), strategy.pop("sets", ())
    schedule = strategy.pop("schedule", {"peak_lr": 1.0, "warmup_steps": 5})
    versions = [{"name": f"v{k}"} for k in range(1, len(steps) + 1)]
    # A config cannot name a future version as `since`, but the sets of a plan that grows later can have one.
    named = [{"name": name, "since": "v1"} for name, _, _ in sets]
    data = {"root": "nowhere", "sequence_length": 8, "versions": versions, "rehearsal": named}
    config = Config.model_validate(config_values(data=data, schedule=schedule, paradigms={kind: strategy}))
    return compile_paradigm(config, kind, increments(*steps), [RehearsalSet(*each) for each in sets])


def parts(path: TrainingPath) -> list[tuple[str, int, int]]:
    """Return (source, first position, position after the last) of all parts of a path."""
    return [(part.source, part.from_row, part.to_row) for segment in path.segments for part in segment.parts]


def rows_read(ancestor: TrainingPath, path: TrainingPath) -> list[tuple[str, int]]:
    """Return (source, position) of every row that `ancestor` read for `path`: of a main path those before the fork."""
    read = []
    step = ancestor.start
    for segment in ancestor.segments:
        steps = segment.steps if ancestor.kind != "main" else max(0, min(segment.steps, path.start - step))
        step += segment.steps
        for part in segment.parts:
            stop = part.from_row + part.rows * steps // segment.steps
            read += [(part.source, row) for row in range(part.from_row, stop)]
    return read
