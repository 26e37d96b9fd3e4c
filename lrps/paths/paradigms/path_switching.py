"""Learning-rate path switching: one main path at the maximal learning rate, and a branch for every version.

Wang et al., EMNLP 2024, arXiv 2410.04103; docs/method.md, sections 1.2 and 1.3, has the geometry and the rows. The main
path ends at the last fork, so the cost in steps is usually sum_k T_k + sum_{k<N} D_k. A version that the main path
itself releases has no branch, and the main path reaches the end of its increment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from lrps.base.errors import ConfigError
from lrps.config.mixes import Mix
from lrps.config.strategies import PathSwitching
from lrps.ledger.reader import EMA, MERGE, RAW
from lrps.paths.compiler import Compiler, after
from lrps.paths.graph import Fork, Paradigm, Release, Segment, SourceRange, TrainingPath
from lrps.paths.schedule import POWER_EXPONENT, Schedule, warmup_stable, warmup_stable_decay

_FORMS = {"ema": EMA, "merge": MERGE}
"""Forms of released states that are not raw, by the value of the key `release`."""


def path_switching(compiler: Compiler, strategy: PathSwitching) -> Paradigm:
    """Return a main path up to its last fork or release, and branches of D_k steps that end with their increments.

    The main path trains a branch's rows again, at the peak rate, when the next version is wanted. Raises ConfigError if
    `branch_data: whole` is combined with a decay that is longer than its increment.
    """
    coefficient = compiler.config.schedule.power_coefficient
    if coefficient is not None:  # The law is a function of tokens, the schedule one of steps.
        coefficient *= compiler.config.tokens_per_step**POWER_EXPONENT
    main_name = "main" if compiler.name == strategy.kind else f"{compiler.name}-main"
    schedule = warmup_stable(compiler.peak, compiler.warmup, coefficient)
    versions = [increment.version for increment in compiler.increments]
    if not strategy.release_first and strategy.release_per_version.get(versions[0], "main") != "main":
        raise ConfigError(
            f"paradigms.{compiler.name}: release_first: false releases {versions[0]} as the main path, and "
            f"release_per_version.{versions[0]} as {strategy.release_per_version[versions[0]]}; leave one of them out"
        )
    released, stops = strategy.releases_of(versions), compiler.edges[1:]
    forks = {k: stops[k] - compiler.decay(k).steps for k, state in enumerate(released) if state == "branch"}
    main_stop = max(forks.get(k, stop) for k, stop in enumerate(stops))
    segments, taken = _main_rows(compiler, strategy.main_mix, forks.values(), main_stop)
    branches = {k: _branch(compiler, strategy, k, main_name, schedule, taken[fork]) for k, fork in forks.items()}
    releases = [
        Release(versions[k], branches[k].name, branches[k].stop)
        if k in branches
        else Release(versions[k], main_name, stops[k], _FORMS.get(state, RAW))
        for k, state in enumerate(released)
    ]
    # A branch as long as all steps so far has no main path to fork from: it starts from the initial weights.
    if not main_stop:
        return Paradigm(compiler.name, strategy.kind, tuple(branches.values()), tuple(releases))
    main = TrainingPath(main_name, "main", None, 0, main_stop, schedule, segments)
    return Paradigm(compiler.name, strategy.kind, (main, *branches.values()), tuple(releases))


def _main_rows(
    compiler: Compiler, mix: Mix, forks: Collection[int], stop: int
) -> tuple[tuple[Segment, ...], dict[int, dict[str, int]]]:
    """Return the main path's segments up to step `stop`, and the rows read by each fork: step -> source -> rows.

    A mixture is exact only as a whole, so a mixed segment ends wherever a branch forks.
    """
    forked = set(forks)
    cuts = sorted({0, stop, *(step for step in (*compiler.edges, *forks) if step < stop)})
    so_far: dict[str, int] = {}
    taken: dict[int, dict[str, int]] = {0: {}}
    segments: list[Segment] = []
    for start, end in pairwise(cuts):
        fresh = compiler.unmixed(start, end, so_far)
        read = compiler.mixed(compiler.increment_at(start), fresh, so_far, mix)
        so_far |= after(read)
        if end in forked:
            taken[end] = so_far.copy()
        segments += read
    return _joined(segments), taken


def _joined(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Return segments with the same rows in every step, with neighbours that read one and the same source joined."""
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
    compiler: Compiler,
    strategy: PathSwitching,
    k: int,
    main: str,
    schedule: Schedule,
    taken: Mapping[str, int],
) -> TrainingPath:
    """Return the branch of version k: D_k steps to the end of its increment, and those that its mix adds.

    main, schedule: name and schedule of the main path. taken: rows that it has read of each source at the fork.
    """
    decay, stop = compiler.decay(k), compiler.edges[k + 1]
    start = stop - decay.steps
    segments = _branch_rows(compiler, strategy, k, start, stop, taken)
    extra = sum(segment.steps for segment in segments) - decay.steps
    decay, stop = decay.longer(extra), stop + extra
    warmup = compiler.warmup
    if start < warmup:  # The rest of a warm-up and decay from step 0.
        top = schedule.lr_at(warmup)
        falling = warmup_stable_decay(0, stop, warmup=warmup, lr_start=0.0, peak=top, decay=decay)
    else:  # The first rate is that of the main path at the fork, also under a power law.
        falling = warmup_stable_decay(start, stop, warmup=0, lr_start=0.0, peak=schedule.lr_at(start), decay=decay)
    parent = Fork(main, start, strategy.optimizer) if start else None
    return TrainingPath(compiler.path_name(k, "branch"), "branch", parent, start, stop, falling, segments)


def _branch_rows(
    compiler: Compiler, strategy: PathSwitching, k: int, start: int, stop: int, taken: Mapping[str, int]
) -> tuple[Segment, ...]:
    """Return the rows of the branch of version k, including those of its mix."""
    increment, steps = compiler.increments[k], stop - start
    if strategy.branch_data == "rest":
        segments = compiler.unmixed(start, stop, taken)
    elif steps > increment.steps:
        raise ConfigError(
            f"paradigms.{compiler.name}.branch_data 'whole' needs a decay that is no longer than the increment; that "
            f"of version {increment.version} has {steps} steps, and the increment has {increment.steps}; "
            "lower alpha, or use branch_data: rest"
        )
    else:
        # The main path never reads this epoch of the increment; it is reshuffled.
        segments = (Segment(steps, (SourceRange(increment.version, increment.unread_epoch, steps * compiler.batch),)),)
    return compiler.mixed(k, segments, taken, strategy.mix_of(increment.version))
