"""Path switching as a compiler: one main path at the maximal learning rate, and a branch for every version.

Wang et al., EMNLP 2024; the geometry is derived in method.md: the main path ends at the last fork, so all of it costs
sum T_k + sum_{k<N} D_k steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from lrps.base.errors import ConfigError
from lrps.config.strategies import Mix, PathSwitching
from lrps.paths.compiler import Compiler, after
from lrps.paths.graph import Fork, Paradigm, Release, Segment, SourceRange, TrainingPath
from lrps.paths.schedule import POWER_EXPONENT, Schedule, warmup_stable, warmup_stable_decay


def path_switching(c: Compiler, s: PathSwitching) -> Paradigm:
    """One main path at the maximal rate to the last fork; version k is a branch of D_k steps that ends with
    increment k. The main path later goes over the branch's rows itself, when the next version is wanted."""
    coefficient = c.config.schedule.power_coefficient
    if coefficient is not None:  # the law is one of tokens, the schedule one of steps
        coefficient *= c.config.tokens_per_step**POWER_EXPONENT
    main_name = "main" if c.name == s.kind else f"{c.name}-main"
    schedule = warmup_stable(c.peak, c.warmup, coefficient)
    branched = range(0 if s.release_first else 1, len(c.increments))
    stops = c.edges[1:]
    forks = [stops[k] - c.decay(k).steps for k in branched]
    main_stop = max(forks + ([] if s.release_first else [stops[0]]))
    segments, taken = _main_rows(c, s.main_mix, forks, main_stop)
    branches = [_branch(c, s, k, main_name, schedule, taken[fork]) for k, fork in zip(branched, forks, strict=True)]
    releases = [Release(c.increments[k].version, b.name, b.stop) for k, b in zip(branched, branches, strict=True)]
    if not s.release_first:
        releases.insert(0, Release(c.increments[0].version, main_name, stops[0]))
    # A branch as long as everything so far has no main path to fork from: it starts from the initial weights.
    if not main_stop:
        return Paradigm(c.name, s.kind, tuple(branches), tuple(releases))
    main = TrainingPath(main_name, "main", None, 0, main_stop, schedule, segments)
    return Paradigm(c.name, s.kind, (main, *branches), tuple(releases))


def _main_rows(
    c: Compiler, mix: Mix, forks: Sequence[int], stop: int
) -> tuple[tuple[Segment, ...], dict[int, dict[str, int]]]:
    """What the main path reads up to step `stop`, and what it has read at every fork: step -> source -> rows.

    A mixture is exact only as a whole: mixed steps end and begin anew wherever a branch forks.
    """
    cuts = sorted({0, stop, *(step for step in (*c.edges, *forks) if step < stop)})
    taken: dict[int, dict[str, int]] = {0: {}}
    segments: list[Segment] = []
    for start, end in pairwise(cuts):
        fresh = c.unmixed(start, end, taken[start])
        read = c.mixed(c.increment_at(start), fresh, taken[start], mix)
        taken[end] = after(taken[start], read)
        segments += read
    return _joined(segments), taken


def _joined(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """The same rows, step for step: unmixed segments of one source, which go on where it was left, are one."""
    joined: list[Segment] = []
    for segment in segments:
        part, *others = segment.parts
        before = joined[-1].parts if joined else ()
        if not others and len(before) == 1 and before[0].source == part.source:
            whole = SourceRange(part.source, before[0].from_row, before[0].rows + part.rows)
            joined[-1] = Segment(joined[-1].steps + segment.steps, (whole,))
        else:
            joined.append(segment)
    return tuple(joined)


def _branch(
    c: Compiler, s: PathSwitching, k: int, main: str, schedule: Schedule, taken: Mapping[str, int]
) -> TrainingPath:
    """taken: what the main path has read where it forks."""
    decay, stop = c.decay(k), c.edges[k + 1]
    start = stop - decay.steps
    if s.branch_data == "rest":
        segments = c.unmixed(start, stop, taken)
    else:
        increment = c.increments[k]
        if decay.steps > increment.steps:
            raise ConfigError(
                f"paradigms.{c.name}.branch_data 'whole' needs a decay that is no longer than the increment; that of "
                f"version {increment.version} is {decay.steps} steps of {increment.steps}"
            )
        segments = (Segment(decay.steps, (SourceRange(increment.version, increment.rows, decay.steps * c.batch),)),)
    segments = c.mixed(k, segments, taken, s.mix_of(c.increments[k].version))
    top = schedule.lr_at(c.warmup)
    if start < c.warmup:  # the straight warm-up and decay run, seen from its step `start`
        falling = warmup_stable_decay(0, stop, warmup=c.warmup, lr_start=0.0, peak=top, decay=decay)
    else:  # at the seam the rate is the parent's, also under a power law
        falling = warmup_stable_decay(start, stop, warmup=0, lr_start=0.0, peak=schedule.lr_at(start), decay=decay)
    parent = Fork(main, start, s.optimizer) if start else None
    return TrainingPath(c.path_name(k, "branch"), "branch", parent, start, stop, falling, segments)
