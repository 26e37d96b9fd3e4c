"""Every paradigm of a config compiled to one graph of paths.

The paradigms differ in nothing but the graph that they compile to. T_k is the number of steps of increment k and
D_k = alpha_k T_k that of its decay (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.config.strategies import Cpt, PathSwitching, Ptfs, WsdS
from lrps.paths.compiler import Compiler
from lrps.paths.graph import Graph, Paradigm, TrainingPath
from lrps.paths.increments import Increment, RehearsalSet
from lrps.paths.paradigms.cpt import cpt
from lrps.paths.paradigms.path_switching import path_switching
from lrps.paths.paradigms.ptfs import ptfs
from lrps.paths.paradigms.wsd_s import wsd_s
from lrps.paths.sharing import share


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
    existing: Mapping[str, TrainingPath] | None = None,
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
