"""Paradigms as compilers: config and increments in, one graph of paths out.

ptfs, cpt, path switching and wsd-s differ in nothing but the graph they compile to. The geometry and the costs are
derived in method.md: T_k steps for increment k, D_k = alpha_k T_k of them a decay; path switching costs
sum T_k + sum_{k<N} D_k, PTFS sum_k sum_{i<=k} T_i, CPT and WSD-S sum T_k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from math import floor

from lrps.config.models import Config, Cpt, Decaying, Mix, PathSwitching, Ptfs, Strategy, WsdS
from lrps.errors import ConfigError
from lrps.paths.graph import Fork, Graph, Paradigm, Part, Path, Release, Segment
from lrps.paths.schedule import NEEDS_POSITIVE_FINAL, Decay, Schedule, constant, warmup_stable, warmup_stable_decay


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
class _Compiler:
    """What every paradigm needs: the config, the increments, and the steps before each of them."""

    config: Config
    name: str
    strategy: Strategy
    increments: Sequence[Increment]

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
        """The decay of version k, in whole steps: at least one, at most all steps so far."""
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
        return Decay(strategy.decay, min(max(steps, 1), so_far), final)

    def whole(self, k: int) -> Segment:
        """All steps of increment k, alone and in the source's order."""
        inc = self.increments[k]
        return Segment(inc.steps, (Part(inc.version, 0, inc.used(self.batch)),))

    def with_replay(self, fresh: Sequence[Part], steps: int, k: int, share: float) -> Segment:
        """`steps` steps whose rows are `fresh`, cut evenly to make room for replay of the increments before k.

        Every old source goes on where its own increment ended, in proportion to its size.
        """
        total = steps * self.batch
        room = floor(Fraction(str(share)) * total + Fraction(1, 2)) if k else 0
        old = self.increments[:k]
        sizes = [inc.used(self.batch) for inc in old]
        replay = [
            Part(inc.version, inc.used(self.batch), rows)
            for inc, rows in zip(old, _apportion(room, sizes), strict=True)
            if rows
        ]
        new_rows = _apportion(total - room, [part.rows for part in fresh])
        new = [Part(p.source, p.from_row, rows) for p, rows in zip(fresh, new_rows, strict=True) if rows]
        return Segment(steps, (*new, *replay))


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
        segments = (Segment(decay.steps, (Part(increment.version, increment.rows, decay.steps * c.batch),)),)
    if s.mix.replay:
        segments = (c.with_replay([part for seg in segments for part in seg.parts], decay.steps, k, s.mix.replay),)
    if start < c.warmup:  # the straight warm-up and decay run, seen from its step `start`
        falling = warmup_stable_decay(0, stop, warmup=c.warmup, lr_start=0.0, peak=c.peak, decay=decay)
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
    """Every version from the last one's final state, on its own increment and declared replay."""
    if s.restart == "continue" and c.decay(0).final == 0:
        raise ConfigError(
            f"paradigms.{c.name}: restart 'continue' goes on at the last version's final rate, which is 0: nothing "
            f"would be learned; set paradigms.{c.name}.final_lr above 0, or use restart: rewarm"
        )
    rewarm = c.warmup if s.rewarm_steps is None else s.rewarm_steps
    schedules: list[Schedule] = []
    for k, (start, stop) in enumerate(zip(c.edges, c.edges[1:], strict=False)):
        if s.restart == "constant":
            schedules.append(warmup_stable(c.peak, c.warmup) if k == 0 else constant(start, stop, c.peak))
        elif s.restart == "continue" and k:
            schedules.append(constant(start, stop, c.decay(0).final))
        else:
            warmup = rewarm if k else c.warmup
            lr_start = schedules[-1].lr_after(start) if k else 0.0
            schedules.append(
                warmup_stable_decay(start, stop, warmup=warmup, lr_start=lr_start, peak=c.peak, decay=c.decay(k))
            )
    return _chain(c, schedules, s.mix, s.optimizer)


def wsd_s(c: _Compiler, s: WsdS) -> Paradigm:
    """The main path goes on from the decayed checkpoint: stable and decay again for every increment."""
    schedules = [
        warmup_stable_decay(start, stop, warmup=0 if start else c.warmup, lr_start=0.0, peak=c.peak, decay=c.decay(k))
        for k, (start, stop) in enumerate(zip(c.edges, c.edges[1:], strict=False))
    ]
    return _chain(c, schedules, Mix(), s.optimizer)


def _chain(c: _Compiler, schedules: Sequence[Schedule], mix: Mix, optimizer: str) -> Paradigm:
    """Paths that each start from the final state of the one before."""
    paths: list[Path] = []
    for k, (start, stop) in enumerate(zip(c.edges, c.edges[1:], strict=False)):
        whole = c.whole(k)
        segment = c.with_replay(whole.parts, whole.steps, k, mix.replay) if mix.replay else whole
        parent = Fork(paths[-1].name, start, optimizer) if paths else None
        paths.append(Path(c.path_name(k), c.strategy.kind, parent, start, stop, schedules[k], (segment,)))
    return Paradigm(c.name, c.strategy.kind, tuple(paths), _final_releases(c, paths))


def _final_releases(c: _Compiler, paths: Sequence[Path]) -> tuple[Release, ...]:
    return tuple(Release(inc.version, path.name, path.stop) for inc, path in zip(c.increments, paths, strict=True))


def compile_paradigm(config: Config, name: str, increments: Sequence[Increment]) -> Paradigm:
    """Compile one strategy of the config alone, with its own path names."""
    strategy = config.paradigms[name]
    compiler = _Compiler(config, name, strategy, increments)
    match strategy:
        case PathSwitching():
            return path_switching(compiler, strategy)
        case Ptfs():
            return ptfs(compiler, strategy)
        case Cpt():
            return cpt(compiler, strategy)
        case WsdS():
            return wsd_s(compiler, strategy)


def compile_graph(config: Config, increments: Sequence[Increment]) -> Graph:
    """Compile every strategy of the config and let them share equal paths (the first CPT version is the first PTFS
    version; a main path of another alpha is the same main path). A shared path keeps its first name.

    Raises ConfigError for an increment that is shorter than one step.
    """
    for increment in increments:
        if increment.steps < 1:
            raise ConfigError(
                f"version {increment.version} has {increment.rows} rows, less than one batch of "
                f"{config.batch.sequences}: add data, or lower batch.sequences"
            )
    shared: dict[tuple[Fork | None, int], list[Path]] = {}
    paradigms = [_share(compile_paradigm(config, name, increments), shared) for name in config.paradigms]
    return Graph(tuple(paradigms))


def _share(paradigm: Paradigm, known: dict[tuple[Fork | None, int], list[Path]]) -> Paradigm:
    """Rename the paths that an earlier paradigm has already; remember the others."""
    renamed: dict[str, str] = {}
    paths = []
    for path in paradigm.paths:
        if path.parent is not None:
            path = replace(path, parent=replace(path.parent, path=renamed[path.parent.path]))
        alike = known.setdefault((path.parent, path.start), [])
        twin = next((other for other in alike if _same(path, other)), None)
        renamed[path.name] = path.name if twin is None else twin.name
        path = path if twin is None else replace(path, name=twin.name, job=twin.job)
        alike.append(path)
        paths.append(path)
    releases = tuple(replace(release, path=renamed[release.path]) for release in paradigm.releases)
    return replace(paradigm, paths=tuple(paths), releases=releases)


def _same(path: Path, other: Path) -> bool:
    """Equal step for step; a main path may be longer than its twin, since it is the one kind that grows."""
    if path.stop != other.stop and not path.job == other.job == "main":
        return False
    return path.extends(other) or other.extends(path)
