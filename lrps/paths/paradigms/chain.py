"""Paradigms in which every version continues the previous one: a chain of paths with one release each."""

from __future__ import annotations

from collections.abc import Sequence

from lrps.config.mixes import Mix
from lrps.config.strategies import Mixing
from lrps.paths.compiler import Compiler, after
from lrps.paths.graph import Fork, Paradigm, Release, TrainingPath
from lrps.paths.schedule import Schedule


def chain(compiler: Compiler, schedules: Sequence[Schedule], optimizer: str) -> Paradigm:
    """Return one path per increment, each from the final state of the path before it.

    Every path reads its own increment and the rows that the mix of its version adds. schedules: one per increment.
    optimizer: `carry` or `reset`, for every path but the first.
    """
    strategy = compiler.strategy
    paths: list[TrainingPath] = []
    taken: dict[str, int] = {}
    for k, (start, stop) in enumerate(compiler.spans):
        mix = strategy.mix_of(compiler.increments[k].version) if isinstance(strategy, Mixing) else Mix()
        segments = compiler.mixed(k, (compiler.whole(k),), taken, mix)
        taken |= after(segments)
        parent = Fork(paths[-1].name, start, optimizer) if paths else None
        name = compiler.path_name(k)
        paths.append(TrainingPath(name, strategy.kind, parent, start, stop, schedules[k], segments))
    return Paradigm(compiler.name, strategy.kind, tuple(paths), final_releases(compiler, paths))


def final_releases(compiler: Compiler, paths: Sequence[TrainingPath]) -> tuple[Release, ...]:
    """Return one release per increment: the final state of the path for that increment."""
    pairs = zip(compiler.increments, paths, strict=True)
    return tuple(Release(increment.version, path.name, path.stop) for increment, path in pairs)
