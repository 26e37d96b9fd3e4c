"""Paradigms as compilers: config and increments in, one graph of paths out.

ptfs, cpt, path switching and wsd-s differ in nothing but the graph they compile to. The geometry and the costs are
derived in method.md: T_k steps for increment k, D_k = alpha_k T_k of them a decay; path switching costs
sum T_k + sum_{k<N} D_k, PTFS sum_k sum_{i<=k} T_i, CPT and WSD-S sum T_k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from lrps.config.models import Config
from lrps.config.strategies import Cpt, Mix, Mixing, PathSwitching, Ptfs, WsdS
from lrps.errors import ConfigError
from lrps.paths.compiler import Compiler, after
from lrps.paths.graph import Fork, Graph, Paradigm, Path, Release, Segment
from lrps.paths.increments import Increment, RehearsalSet
from lrps.paths.path_switching import path_switching
from lrps.paths.schedule import Schedule, constant, warmup_stable, warmup_stable_decay
from lrps.paths.sharing import share


def ptfs(c: Compiler, s: Ptfs) -> Paradigm:
    """Every version from the initial weights on increments 1..k, mixed evenly over the whole run."""
    parts = tuple(part for k in range(len(c.increments)) for part in c.whole(k).parts)
    paths = []
    for k, stop in enumerate(c.edges[1:]):
        schedule = warmup_stable_decay(0, stop, warmup=c.warmup, lr_start=0.0, peak=c.peak, decay=c.decay(k))
        paths.append(Path(c.path_name(k), "ptfs", None, 0, stop, schedule, (Segment(stop, parts[: k + 1]),)))
    return Paradigm(c.name, s.kind, tuple(paths), _final_releases(c, paths))


def cpt(c: Compiler, s: Cpt) -> Paradigm:
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


def _final_rate(c: Compiler, last: Schedule, stop: int) -> float:
    if (rate := last.lr_after(stop)) > 0:
        return rate
    raise ConfigError(
        f"paradigms.{c.name}: restart 'continue' goes on at the last version's final rate, which is 0: nothing "
        f"would be learned; set paradigms.{c.name}.final_lr above 0, or use restart: rewarm"
    )


def wsd_s(c: Compiler, s: WsdS) -> Paradigm:
    """The main path goes on from the decayed checkpoint: stable and decay again for every increment."""
    schedules = [
        warmup_stable_decay(start, stop, warmup=0 if start else c.warmup, lr_start=0.0, peak=c.peak, decay=c.decay(k))
        for k, (start, stop) in enumerate(pairwise(c.edges))
    ]
    return _chain(c, schedules, s.optimizer)


def _chain(c: Compiler, schedules: Sequence[Schedule], optimizer: str) -> Paradigm:
    """Paths that each start from the final state of the one before."""
    paths: list[Path] = []
    taken: dict[str, int] = {}
    for k, (start, stop) in enumerate(pairwise(c.edges)):
        mix = c.strategy.mix_of(c.increments[k].version) if isinstance(c.strategy, Mixing) else Mix()
        segments = c.mixed(k, (c.whole(k),), taken, mix)
        taken = after(taken, segments)
        parent = Fork(paths[-1].name, start, optimizer) if paths else None
        paths.append(Path(c.path_name(k), c.strategy.kind, parent, start, stop, schedules[k], segments))
    return Paradigm(c.name, c.strategy.kind, tuple(paths), _final_releases(c, paths))


def _final_releases(c: Compiler, paths: Sequence[Path]) -> tuple[Release, ...]:
    return tuple(Release(inc.version, path.name, path.stop) for inc, path in zip(c.increments, paths, strict=True))


def compile_paradigm(
    config: Config, name: str, increments: Sequence[Increment], rehearsal: Sequence[RehearsalSet] = ()
) -> Paradigm:
    """Compile one strategy of the config alone, with its own path names."""
    strategy = config.paradigms[name]
    compiler = Compiler(config, name, strategy, increments, rehearsal)
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
