"""Strategies compiled over versions of so many steps, and what their paths read."""

from __future__ import annotations

from typing import Any

from lrps.config.models import Config
from lrps.paths.graph import Paradigm, TrainingPath
from lrps.paths.increments import Increment, RehearsalSet
from lrps.paths.paradigms.compile import compile_paradigm
from support.values import config_values


def increments(*steps: int, spare: int = 1) -> list[Increment]:
    """Versions v1.. of so many steps of 2 rows, with `spare` rows left over."""
    return [Increment(f"v{k}", 2 * t + spare, t) for k, t in enumerate(steps, 1)]


def compiled(steps: list[int], **strategy: Any) -> Paradigm:
    """One strategy, called as its kind, over versions of these steps; `sets`: (name, rows, since) for rehearsal."""
    kind, sets = strategy.pop("kind", "path-switching"), strategy.pop("sets", ())
    schedule = strategy.pop("schedule", {"peak_lr": 1.0, "warmup_steps": 5})
    versions = [{"name": f"v{k}"} for k in range(1, len(steps) + 1)]
    # A set of a version that is still to come is no part of a config, but it may be one of a grown plan's.
    named = [{"name": name, "since": "v1"} for name, _, _ in sets]
    data = {"root": "nowhere", "sequence_length": 8, "versions": versions, "rehearsal": named}
    config = Config.model_validate(config_values(data=data, schedule=schedule, paradigms={kind: strategy}))
    return compile_paradigm(config, kind, increments(*steps), [RehearsalSet(*each) for each in sets])


def parts(path: TrainingPath) -> list[tuple[str, int, int]]:
    return [(part.source, part.from_row, part.to_row) for segment in path.segments for part in segment.parts]


def rows_read(ancestor: TrainingPath, path: TrainingPath) -> list[tuple[str, int]]:
    """(source, stream position) that `path` has seen through `ancestor`: of a parent only what is before the fork."""
    read = []
    step = ancestor.start
    for segment in ancestor.segments:
        steps = segment.steps if ancestor.kind != "main" else max(0, min(segment.steps, path.start - step))
        step += segment.steps
        for part in segment.parts:
            stop = part.from_row + part.rows * steps // segment.steps
            read += [(part.source, row) for row in range(part.from_row, stop)]
    return read
