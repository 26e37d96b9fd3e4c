"""Pre-training from scratch (PTFS): every version is trained from the initial weights on all increments so far.

docs/method.md, section 1.7. Cost in steps: sum_k sum_{i<=k} T_i, or that of another paradigm (`steps_of`).
"""

from __future__ import annotations

from collections.abc import Sequence

from lrps.base.errors import ConfigError
from lrps.config.strategies import Ptfs
from lrps.paths.compiler import Compiler, evenly
from lrps.paths.graph import MATCHED_STEPS, Paradigm, Segment, TrainingPath
from lrps.paths.paradigms.chain import final_releases
from lrps.paths.schedule import warmup_stable_decay


def ptfs(compiler: Compiler, strategy: Ptfs) -> Paradigm:
    """Return one path per version from the initial weights; that of version k mixes increments 1..k evenly."""
    return _from_scratch(compiler, strategy.kind, compiler.edges[1:])


def matched_steps(compiler: Compiler, strategy: Ptfs, steps: Sequence[int]) -> Paradigm:
    """Return PTFS whose version k is trained for steps[k] steps, at most those of all increments so far.

    Raises ConfigError if a warm-up leaves no step of a version for anything else.
    """
    for increment, count in zip(compiler.increments, steps, strict=True):
        if count <= compiler.warmup:
            raise ConfigError(
                f"paradigms.{compiler.name}: version {increment.version} adds {count} steps to {strategy.steps_of}, "
                f"and a warm-up of {compiler.warmup} steps leaves none of them for anything else; lower "
                "schedule.warmup_steps, or leave the paradigm out"
            )
    return _from_scratch(compiler, MATCHED_STEPS, steps)


def _from_scratch(compiler: Compiler, kind: str, steps: Sequence[int]) -> Paradigm:
    """Return a paradigm of this kind, whose version k is trained for steps[k] steps on increments 0 to k."""
    whole = tuple(part for k in range(len(compiler.increments)) for part in compiler.whole(k).parts)
    paths = []
    for k, stop in enumerate(steps):
        peak, decay = compiler.peak_of(k), compiler.decay(k, stop)
        schedule = warmup_stable_decay(0, stop, warmup=compiler.warmup, lr_start=0.0, peak=peak, decay=decay)
        parts = whole[: k + 1]
        if stop < compiler.edges[k + 1]:
            parts = evenly(parts, stop * compiler.batch)
        segments = (Segment(stop, parts),)
        paths.append(TrainingPath(compiler.path_name(k), "ptfs", None, 0, stop, schedule, segments))
    return Paradigm(compiler.name, kind, tuple(paths), final_releases(compiler, paths))
