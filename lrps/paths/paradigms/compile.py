"""Compilation of the paradigms and probes of a config to one graph of paths.

All paradigms compile to the same kind of graph, and nothing after this depends on the paradigm. A new paradigm is a
module of this package, a strategy in lrps.config.strategies and an entry in COMPILERS; a plug-in needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lrps.base.errors import ConfigError
from lrps.config.extensions import PARADIGMS
from lrps.config.models import Config
from lrps.config.strategies import Cpt, Ptfs
from lrps.paths.attribution import marginal_steps
from lrps.paths.compiler import Compiler
from lrps.paths.graph import Graph, Paradigm, TrainingPath
from lrps.paths.increments import Increment, RehearsalSet
from lrps.paths.paradigms.cpt import check_rewarm, cpt
from lrps.paths.paradigms.path_switching import path_switching
from lrps.paths.paradigms.plugin import compile_plugin
from lrps.paths.paradigms.ptfs import matched_steps, ptfs
from lrps.paths.paradigms.wsd_s import wsd_s
from lrps.paths.probes import PROBE, compile_probes
from lrps.paths.sharing import share, share_probes

COMPILERS: Mapping[str, Callable[[Compiler, Any], Paradigm]] = {
    "path-switching": path_switching,
    "ptfs": ptfs,
    "cpt": cpt,
    "wsd-s": wsd_s,
}
"""Functions that compile a strategy to a paradigm, by the kind of the strategy."""


def compile_paradigm(
    config: Config, name: str, increments: Sequence[Increment], rehearsal: Sequence[RehearsalSet] = ()
) -> Paradigm:
    """Return the paradigm of one strategy of the config, as if it were the only one: no path is shared yet."""
    strategy = config.paradigms[name]
    compiler = Compiler(config, name, strategy, increments, rehearsal)
    if isinstance(strategy, Ptfs) and strategy.steps_of is not None:
        other = compile_paradigm(config, strategy.steps_of, increments, rehearsal)
        return matched_steps(compiler, strategy, marginal_steps(other))
    if (builtin := COMPILERS.get(strategy.kind)) is not None:
        return builtin(compiler, strategy)
    return compile_plugin(PARADIGMS.get(strategy.kind), compiler)


def compile_graph(
    config: Config,
    increments: Sequence[Increment],
    existing: Mapping[str, TrainingPath] | None = None,
    rehearsal: Sequence[RehearsalSet] = (),
) -> Graph:
    """Return the graph of all strategies and probes of the config; equal paths are shared (lrps.paths.sharing).

    existing: name -> path of a run directory, perhaps made with other paradigms; equal paths keep these names.
    rehearsal: all rehearsal sets; those whose `since` is none of the increments are not read.
    Raises ConfigError for an increment or a set without a step or a row, for a warm-up that leaves no step for anything
    else, and for two different paths with the same name.
    """
    _check_increments(config, increments)
    if empty := [each.name for each in rehearsal if each.planned_rows < 1]:
        raise ConfigError(f"rehearsal set {', '.join(empty)} has less than one sequence: add data, or leave it out")
    paradigms = tuple(compile_paradigm(config, name, increments, rehearsal) for name in config.paradigms)
    # A paradigm never takes the path of a probe: what it releases has a name of its own.
    graph = share(paradigms, {name: path for name, path in (existing or {}).items() if path.kind != PROBE})
    return share_probes(graph, compile_probes(config, graph, increments, rehearsal), existing)


def _check_increments(config: Config, increments: Sequence[Increment]) -> None:
    warmup = config.schedule.warmup_steps
    for increment in increments:
        if increment.steps < 1:
            raise ConfigError(
                f"version {increment.version} has {increment.planned_rows} sequences, less than one batch of "
                f"{config.batch.sequences}: add data, or lower batch.sequences"
            )
    if warmup >= increments[0].steps:
        raise ConfigError(
            f"schedule.warmup_steps {warmup} leaves no step of version {increments[0].version} "
            f"({increments[0].steps} steps) for anything else; lower it"
        )
    for name, strategy in config.paradigms.items():
        if isinstance(strategy, Cpt):
            check_rewarm(name, strategy, warmup, increments)
