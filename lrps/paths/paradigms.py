"""Paradigms as compilers: config and increments in, one graph of paths out.

ptfs, cpt, path switching and wsd-s differ in nothing but the graph they compile to. The geometry and the costs are
derived in method.md: T_k steps for increment k, D_k = alpha_k T_k of them a decay; path switching costs
sum T_k + sum_{k<N} D_k, PTFS sum_k sum_{i<=k} T_i, CPT and WSD-S sum T_k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from math import floor

from lrps.config.models import Config
from lrps.config.strategies import Cpt, Decaying, Mix, Mixing, PathSwitching, Ptfs, Strategy, WsdS
from lrps.errors import ConfigError
from lrps.paths.graph import Fork, Graph, Paradigm, Part, Path, Release, Segment
from lrps.paths.schedule import (
    NEEDS_POSITIVE_FINAL,
    POWER_EXPONENT,
    Decay,
    Schedule,
    constant,
    warmup_stable,
    warmup_stable_decay,
)
from lrps.paths.sharing import share


@dataclass(frozen=True)
class Increment:
    """The new rows of one version. Only whole optimizer steps are trained: `steps` = T_k = floor(rows / batch)."""

    version: str
    rows: int
    steps: int

    def used(self, batch: int) -> int:
        """Rows that the steps take; the remainder is left over and reported."""
        return self.steps * batch


@dataclass(frozen=True)
class RehearsalSet:
    """Rows that are no version's increment: the mixes of version `since` and of later ones may read them."""

    name: str
    rows: int
    since: str


@dataclass(frozen=True)
class _Compiler:
    """What every paradigm needs: the config, the data, and the steps before each increment."""

    config: Config
    name: str
    strategy: Strategy
    increments: Sequence[Increment]
    rehearsal: Sequence[RehearsalSet]

    @property
    def batch(self) -> int:
        return self.config.batch.sequences

    @property
    def peak(self) -> float:
        return self.config.schedule.peak_lr

    @property
    def warmup(self) -> int:
        return self.config.schedule.warmup_steps

    @property
    def edges(self) -> list[int]:
        """edges[k] = steps of the first k increments together."""
        return list(accumulate((inc.steps for inc in self.increments), initial=0))

    def path_name(self, k: int, plain: str | None = None) -> str:
        """`branch-v2`, `ptfs-v3`; a second strategy of the same kind carries its own name."""
        prefix = plain if plain and self.name == self.strategy.kind else self.name
        return f"{prefix}-{self.increments[k].version}"

    def decay(self, k: int) -> Decay:
        """The decay of version k, in whole steps: at least one, and an absolute one at most all steps so far."""
        strategy: Decaying = self.strategy
        version = self.increments[k]
        final = self.config.schedule.final_lr if strategy.final_lr is None else strategy.final_lr
        if final > self.peak:
            raise ConfigError(f"paradigms.{self.name}.final_lr {final:g} lies above schedule.peak_lr {self.peak:g}")
        if strategy.decay in NEEDS_POSITIVE_FINAL and final == 0:
            raise ConfigError(
                f"paradigms.{self.name}: a decay of shape '{strategy.decay}' never reaches 0; "
                f"set paradigms.{self.name}.final_lr (0.1 x peak_lr is usual) or choose another shape"
            )
        so_far = sum(inc.steps for inc in self.increments[: k + 1])
        alpha = Fraction(str(strategy.alpha_per_version.get(version.version, strategy.alpha)))
        unit = {
            "increment": Fraction(version.steps),
            "steps-so-far": Fraction(so_far),
            "steps": Fraction(1),
            "tokens": Fraction(1, self.config.tokens_per_step),
        }[strategy.alpha_of]
        steps = floor(alpha * unit + Fraction(1, 2))
        if steps > so_far and strategy.alpha_of in ("increment", "steps-so-far"):
            raise ConfigError(
                f"paradigms.{self.name}.alpha {float(alpha):g} of version {version.version} is a decay of {steps} "
                f"steps, but there are {so_far} steps so far; a share of the increment is usually below 1"
            )
        return Decay(strategy.decay, min(max(steps, 1), so_far), final)

    def whole(self, k: int) -> Segment:
        """All steps of increment k, alone and in the source's order."""
        inc = self.increments[k]
        return Segment(inc.steps, (Part(inc.version, 0, inc.used(self.batch)),))

    def mixed(self, k: int, segments: tuple[Segment, ...], taken: Mapping[str, int]) -> tuple[Segment, ...]:
        """The steps of version k, their new rows cut evenly to make room for what its mix adds to them.

        taken: source -> rows that the lineage has read of it; each source goes on there. A share for which there is
        no source yet stays with the new rows.
        """
        mix = self.strategy.mix_of(self.increments[k].version) if isinstance(self.strategy, Mixing) else Mix()
        so_far = {increment.version for increment in self.increments[: k + 1]}
        sets = {each.name: each.rows for each in self.rehearsal if each.since in so_far}
        if not mix.replay and not (mix.rehearsal and sets):
            return segments
        fresh = [part for segment in segments for part in segment.parts]
        newer = {part.source for part in fresh}
        old = {each.version: each.rows for each in self.increments[:k] if each.version not in newer}
        total = sum(part.rows for part in fresh)
        added = [*_drawn(old, mix.replay, total, taken), *_drawn(sets, mix.rehearsal, total, taken)]
        room = sum(part.rows for part in added)
        new_rows = _apportion(total - room, [part.rows for part in fresh])
        new = [Part(p.source, p.from_row, rows) for p, rows in zip(fresh, new_rows, strict=True) if rows]
        return (Segment(sum(segment.steps for segment in segments), (*new, *added)),)

    def taken_before(self, k: int) -> dict[str, int]:
        """source -> rows that a lineage has read when it has read every increment before k once."""
        return {increment.version: increment.used(self.batch) for increment in self.increments[:k]}


def _drawn(sizes: Mapping[str, int], share: float, total: int, taken: Mapping[str, int]) -> list[Part]:
    """`share` of `total` rows out of sources of these sizes, in proportion, each from where it was left."""
    room = floor(Fraction(str(share)) * total + Fraction(1, 2)) if sizes else 0
    shares = zip(sizes, _apportion(room, list(sizes.values())), strict=True)
    return [Part(source, taken.get(source, 0), rows) for source, rows in shares if rows]


def _apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to `weights` that add up to `total`."""
    weight = sum(weights)
    if weight == 0:
        return [0 for _ in weights]
    marks = [total * mark // weight for mark in accumulate(weights, initial=0)]
    return [b - a for a, b in pairwise(marks)]


def _slice(segments: Sequence[Segment], start: int, stop: int) -> tuple[Segment, ...]:
    """Steps [start, stop) of unmixed segments that begin at step 0."""
    cut: list[Segment] = []
    begin = 0
    for segment in segments:
        a, b = max(start, begin), min(stop, begin + segment.steps)
        if a < b:
            (part,) = segment.parts
            per_step = part.rows // segment.steps
            rows = Part(part.source, part.from_row + (a - begin) * per_step, (b - a) * per_step)
            cut.append(Segment(b - a, (rows,)))
        begin += segment.steps
    return tuple(cut)


def path_switching(c: _Compiler, s: PathSwitching) -> Paradigm:
    """One main path at the maximal rate to the last fork; version k is a branch of D_k steps that ends with
    increment k. The main path later goes over the branch's rows itself, when the next version is wanted."""
    coefficient = c.config.schedule.power_coefficient
    if coefficient is not None:  # the law is one of tokens, the schedule one of steps
        coefficient *= c.config.tokens_per_step**POWER_EXPONENT
    main_name = "main" if c.name == s.kind else f"{c.name}-main"
    schedule = warmup_stable(c.peak, c.warmup, coefficient)
    rows = [c.whole(k) for k in range(len(c.increments))]
    branched = range(0 if s.release_first else 1, len(c.increments))
    stops = c.edges[1:]
    branches = [_branch(c, s, k, main_name, schedule, rows, stops[k]) for k in branched]
    releases = [Release(c.increments[k].version, b.name, b.stop) for k, b in zip(branched, branches, strict=True)]
    if not s.release_first:
        releases.insert(0, Release(c.increments[0].version, main_name, stops[0]))
    main_stop = max([b.start for b in branches] + ([] if s.release_first else [stops[0]]))
    main = Path(main_name, "main", None, 0, main_stop, schedule, _slice(rows, 0, main_stop))
    # A branch as long as everything so far has no main path to fork from: it starts from the initial weights.
    return Paradigm(c.name, s.kind, ((main, *branches) if main_stop else tuple(branches)), tuple(releases))


def _branch(
    c: _Compiler, s: PathSwitching, k: int, main: str, schedule: Schedule, rows: Sequence[Segment], stop: int
) -> Path:
    decay = c.decay(k)
    start = stop - decay.steps
    if s.branch_data == "rest":
        segments = _slice(rows, start, stop)
    else:
        increment = c.increments[k]
        if decay.steps > increment.steps:
            raise ConfigError(
                f"paradigms.{c.name}.branch_data 'whole' needs a decay that is no longer than the increment; that of "
                f"version {increment.version} is {decay.steps} steps of {increment.steps}"
            )
        segments = (Segment(decay.steps, (Part(increment.version, increment.rows, decay.steps * c.batch),)),)
    segments = c.mixed(k, segments, c.taken_before(k))
    top = schedule.lr_at(c.warmup)
    if start < c.warmup:  # the straight warm-up and decay run, seen from its step `start`
        falling = warmup_stable_decay(0, stop, warmup=c.warmup, lr_start=0.0, peak=top, decay=decay)
    else:  # at the seam the rate is the parent's, also under a power law
        falling = warmup_stable_decay(start, stop, warmup=0, lr_start=0.0, peak=schedule.lr_at(start), decay=decay)
    parent = Fork(main, start, s.optimizer) if start else None
    return Path(c.path_name(k, "branch"), "branch", parent, start, stop, falling, segments)


def ptfs(c: _Compiler, s: Ptfs) -> Paradigm:
    """Every version from the initial weights on increments 1..k, mixed evenly over the whole run."""
    parts = tuple(part for k in range(len(c.increments)) for part in c.whole(k).parts)
    paths = []
    for k, stop in enumerate(c.edges[1:]):
        schedule = warmup_stable_decay(0, stop, warmup=c.warmup, lr_start=0.0, peak=c.peak, decay=c.decay(k))
        paths.append(Path(c.path_name(k), "ptfs", None, 0, stop, schedule, (Segment(stop, parts[: k + 1]),)))
    return Paradigm(c.name, s.kind, tuple(paths), _final_releases(c, paths))


def cpt(c: _Compiler, s: Cpt) -> Paradigm:
    """Every version from the last one's final state, on its own increment and what its mix adds."""
    rewarm = c.warmup if s.rewarm_steps is None else s.rewarm_steps
    schedules: list[Schedule] = []
    for k, (start, stop) in enumerate(pairwise(c.edges)):
        if s.restart == "constant":
            schedules.append(warmup_stable(c.peak, c.warmup) if k == 0 else constant(start, stop, c.peak))
        elif s.restart == "continue" and k:
            schedules.append(constant(start, stop, _final_rate(c, schedules[-1], start)))
        else:
            warmup = rewarm if k else c.warmup
            lr_start = schedules[-1].lr_after(start) if k else 0.0
            schedules.append(
                warmup_stable_decay(start, stop, warmup=warmup, lr_start=lr_start, peak=c.peak, decay=c.decay(k))
            )
    return _chain(c, schedules, s.optimizer)


def _final_rate(c: _Compiler, last: Schedule, stop: int) -> float:
    if (rate := last.lr_after(stop)) > 0:
        return rate
    raise ConfigError(
        f"paradigms.{c.name}: restart 'continue' goes on at the last version's final rate, which is 0: nothing "
        f"would be learned; set paradigms.{c.name}.final_lr above 0, or use restart: rewarm"
    )


def wsd_s(c: _Compiler, s: WsdS) -> Paradigm:
    """The main path goes on from the decayed checkpoint: stable and decay again for every increment."""
    schedules = [
        warmup_stable_decay(start, stop, warmup=0 if start else c.warmup, lr_start=0.0, peak=c.peak, decay=c.decay(k))
        for k, (start, stop) in enumerate(pairwise(c.edges))
    ]
    return _chain(c, schedules, s.optimizer)


def _chain(c: _Compiler, schedules: Sequence[Schedule], optimizer: str) -> Paradigm:
    """Paths that each start from the final state of the one before."""
    paths: list[Path] = []
    taken: dict[str, int] = {}
    for k, (start, stop) in enumerate(pairwise(c.edges)):
        segments = c.mixed(k, (c.whole(k),), taken)
        taken |= {part.source: part.to_row for segment in segments for part in segment.parts}
        parent = Fork(paths[-1].name, start, optimizer) if paths else None
        paths.append(Path(c.path_name(k), c.strategy.kind, parent, start, stop, schedules[k], segments))
    return Paradigm(c.name, c.strategy.kind, tuple(paths), _final_releases(c, paths))


def _final_releases(c: _Compiler, paths: Sequence[Path]) -> tuple[Release, ...]:
    return tuple(Release(inc.version, path.name, path.stop) for inc, path in zip(c.increments, paths, strict=True))


def compile_paradigm(
    config: Config, name: str, increments: Sequence[Increment], rehearsal: Sequence[RehearsalSet] = ()
) -> Paradigm:
    """Compile one strategy of the config alone, with its own path names."""
    strategy = config.paradigms[name]
    compiler = _Compiler(config, name, strategy, increments, rehearsal)
    match strategy:
        case PathSwitching():
            return path_switching(compiler, strategy)
        case Ptfs():
            return ptfs(compiler, strategy)
        case Cpt():
            return cpt(compiler, strategy)
        case WsdS():
            return wsd_s(compiler, strategy)


def compile_graph(
    config: Config,
    increments: Sequence[Increment],
    existing: Mapping[str, Path] | None = None,
    rehearsal: Sequence[RehearsalSet] = (),
) -> Graph:
    """Compile every strategy of the config and let them share equal paths (the first CPT version is the first PTFS
    version; a main path of another alpha is the same main path).

    existing: name -> path, of a run directory that may have been made with other paradigms; equal paths keep those
    names. rehearsal: sets whose `since` is none of these increments are not read.
    Raises ConfigError for an increment, a set or a warm-up that leaves no room, and for names that collide.
    """
    _check_increments(config, increments)
    if empty := [each.name for each in rehearsal if each.rows < 1]:
        raise ConfigError(f"rehearsal set {', '.join(empty)} has less than one row: add data, or leave it out")
    return share(tuple(compile_paradigm(config, name, increments, rehearsal) for name in config.paradigms), existing)


def _check_increments(config: Config, increments: Sequence[Increment]) -> None:
    warmup = config.schedule.warmup_steps
    for increment in increments:
        if increment.steps < 1:
            raise ConfigError(
                f"version {increment.version} has {increment.rows} rows, less than one batch of "
                f"{config.batch.sequences}: add data, or lower batch.sequences"
            )
    if warmup >= increments[0].steps:
        raise ConfigError(
            f"schedule.warmup_steps {warmup} leaves no step of version {increments[0].version} "
            f"({increments[0].steps} steps) for anything else; lower it"
        )
    for name, strategy in config.paradigms.items():
        rewarm = strategy.rewarm_steps if isinstance(strategy, Cpt) and strategy.rewarm_steps is not None else warmup
        short = [i for i in increments[1:] if i.steps <= rewarm]
        if isinstance(strategy, Cpt) and strategy.restart == "rewarm" and short:
            raise ConfigError(
                f"paradigms.{name}: a re-warm-up of {rewarm} steps leaves no step of version {short[0].version} "
                f"({short[0].steps} steps) for its decay; lower paradigms.{name}.rewarm_steps"
            )
