"""Paths of a plan with the amendments that their directories record: their rates, skipped steps and histories.

Amendments come after sharing: paths are named, compared and laid out without them. An amendment moves no fork and no
other path; a branch of an amended path only begins at the rate that its parent has there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from lrps.paths.amendments import generation
from lrps.paths.graph import Graph, Paradigm, TrainingPath


def amended(graph: Graph, stored: Mapping[str, TrainingPath], begun: Callable[[str], bool]) -> Graph:
    """Return the graph with the amendments of its paths; the graph itself if there are none.

    stored: name -> path as its directory records it, with its amendments and the history that it forked from. begun:
    returns whether a path has saved a state. One that has keeps its history, another one forks from the newest one.
    """
    if not any(path.amendments for path in stored.values()):
        return graph
    found: dict[str, TrainingPath] = {}
    for name, path in graph.by_name.items():
        there = stored.get(name)
        path = path if there is None else replace(path, amendments=there.amendments)
        fork = path.parent
        if fork is not None:
            recorded = None if there is None or there.parent is None or not begun(name) else there.parent.generation
            newest = generation(found[fork.path].amendments, fork.step)
            path = replace(path, parent=replace(fork, generation=newest if recorded is None else recorded))
        found[name] = forked(path, found)
    probes = tuple(
        replace(
            each, path=_like(each.path, found[each.path.name]), control=_like(each.control, found[each.control.name])
        )
        for each in graph.probes
    )
    return Graph(tuple(_with(paradigm, found) for paradigm in graph.paradigms), probes)


def forked(path: TrainingPath, others: Mapping[str, TrainingPath]) -> TrainingPath:
    """Return a path with the rate that its parent has at the fork, if the path begins at that rate by the plan.

    others: amended paths by name; without the parent nothing changes.
    """
    fork = path.parent
    if fork is None or fork.path not in others:
        return path
    # Of the steps before the fork only: a state of the step that a path was taken back to is of the older history.
    parent = others[fork.path].of_history(fork.generation)
    parent = replace(parent, amendments=tuple(each for each in parent.amendments if each.at < fork.step))
    if not parent.amendments and parent.rate_at_fork is None:
        return path
    before, now = parent.schedule.lr_after(fork.step), parent.rates.lr_after(fork.step)
    continues = before != now and path.schedule.lr_at(path.start) == before
    return replace(path, rate_at_fork=(before, now)) if continues else path


def _with(paradigm: Paradigm, found: Mapping[str, TrainingPath]) -> Paradigm:
    """Return a paradigm whose paths have the amendments of the paths `found`. Its main path may be a shorter one."""
    return replace(paradigm, paths=tuple(_like(path, found[path.name]) for path in paradigm.paths))


def _like(path: TrainingPath, found: TrainingPath) -> TrainingPath:
    return replace(path, parent=found.parent, amendments=found.amendments, rate_at_fork=found.rate_at_fork)
