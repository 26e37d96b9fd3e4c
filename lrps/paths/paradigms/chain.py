"""What the paradigms have in common whose versions continue each other: paths in a row, and their releases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from lrps.config.strategies import Mix, Mixing
from lrps.paths.compiler import Compiler, after
from lrps.paths.graph import Fork, Paradigm, Release, TrainingPath
from lrps.paths.schedule import Schedule


def chain(c: Compiler, schedules: Sequence[Schedule], optimizer: str) -> Paradigm:
    """Paths that each start from the final state of the one before."""
    paths: list[TrainingPath] = []
    taken: dict[str, int] = {}
    for k, (start, stop) in enumerate(pairwise(c.edges)):
        mix = c.strategy.mix_of(c.increments[k].version) if isinstance(c.strategy, Mixing) else Mix()
        segments = c.mixed(k, (c.whole(k),), taken, mix)
        taken = after(taken, segments)
        parent = Fork(paths[-1].name, start, optimizer) if paths else None
        paths.append(TrainingPath(c.path_name(k), c.strategy.kind, parent, start, stop, schedules[k], segments))
    return Paradigm(c.name, c.strategy.kind, tuple(paths), final_releases(c, paths))


def final_releases(c: Compiler, paths: Sequence[TrainingPath]) -> tuple[Release, ...]:
    """Return one release per increment: the last state of the path at the same position."""
    return tuple(Release(inc.version, path.name, path.stop) for inc, path in zip(c.increments, paths, strict=True))
