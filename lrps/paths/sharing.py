"""Sharing of equal paths between paradigms: they get one name and are trained once.

For example, the first version of CPT is that of PTFS, and main paths that differ only in their length are one main
path. A name that is on disk takes precedence over a new one, so that paradigms can be added, removed and reordered in a
finished plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from lrps.base.errors import ConfigError
from lrps.paths.graph import Fork, Graph, Paradigm, Probe, TrainingPath

_Likeness = tuple[Fork | None, int, int | None]


def share(paradigms: Sequence[Paradigm], existing: Mapping[str, TrainingPath] | None = None) -> Graph:
    """Return a graph in which equal paths have one name: that of an equal path on disk, or else of the first of them.

    existing: name -> path of the run directory. Raises ConfigError if two different paths would have the same name.
    """
    known = _Known(existing or {})
    graph = Graph(tuple(_rename(paradigm, known) for paradigm in paradigms))
    _check_names(_paths_of(graph))
    return graph


def share_probes(graph: Graph, probes: Sequence[Probe], existing: Mapping[str, TrainingPath] | None = None) -> Graph:
    """Return the graph of paradigms with probes, whose paths have the names of equal paths as `share` says.

    The paths of the graph keep their names, also where an equal path of a probe is on disk under another one.
    """
    known = _Known({**(existing or {}), **graph.by_name})

    def named(path: TrainingPath) -> TrainingPath:
        twin = known.twin_of(path)
        path = path if twin is None else replace(path, name=twin.name, kind=twin.kind)
        known.add(path)
        return path

    shared = (Probe(probe.name, named(probe.path), named(probe.control)) for probe in probes)
    graph = replace(graph, probes=tuple(shared))
    _check_names(_paths_of(graph))
    return graph


class _Known:
    """Paths that already have their final name, indexed by what equal paths have in common (`_likeness`)."""

    def __init__(self, existing: Mapping[str, TrainingPath]) -> None:
        self._alike: dict[_Likeness, list[TrainingPath]] = {}
        for name, path in existing.items():
            self.add(replace(path, name=name))

    def add(self, path: TrainingPath) -> None:
        """Add a path with its final name."""
        self._alike.setdefault(_likeness(path), []).append(path)

    def twin_of(self, path: TrainingPath) -> TrainingPath | None:
        """Return an equal path, preferably one of the same name; None if there is none."""
        twins = self._twins_of(path)
        return next((twin for twin in twins if twin.name == path.name), twins[0] if twins else None)

    def _twins_of(self, path: TrainingPath) -> list[TrainingPath]:
        return [other for other in self._alike.get(_likeness(path), ()) if same(path, other)]


def _likeness(path: TrainingPath) -> _Likeness:
    """Return the parent, the start and the stop of a path; no stop for a main path, which equals longer ones."""
    return path.parent, path.start, None if path.kind == "main" else path.stop


def _rename(paradigm: Paradigm, known: _Known) -> Paradigm:
    """Return the paradigm with the name of its twin for every path that has one, and add all its paths to `known`."""
    renamed: dict[str, str] = {}
    paths = []
    for path in paradigm.paths:
        own = path.name
        if path.parent is not None:
            path = replace(path, parent=replace(path.parent, path=renamed[path.parent.path]))
        twin = known.twin_of(path)
        path = path if twin is None else replace(path, name=twin.name, kind=twin.kind)
        if own in renamed:
            raise ConfigError(f"paradigms.{paradigm.name} calls two paths '{own}'; rename the paradigm or a version")
        renamed[own] = path.name
        known.add(path)
        paths.append(path)
    releases = tuple(replace(release, path=renamed[release.path]) for release in paradigm.releases)
    return replace(paradigm, paths=tuple(paths), releases=releases)


def same(path: TrainingPath, other: TrainingPath) -> bool:
    """Return whether two paths are equal step for step.

    A main path equals no path of another kind. Main paths may differ in length, because they grow with every version.
    """
    if (path.kind == "main") != (other.kind == "main") or (path.kind != "main" and path.stop != other.stop):
        return False
    return path.extends(other) or other.extends(path)


def _check_names(paths: Iterable[tuple[str, TrainingPath]]) -> None:
    """Raise ConfigError if two different paths would have the same directory, on any file system.

    paths: key of the config that a path comes from, and the path. Names are compared without regard to case, as some
    file systems do.
    """
    seen: dict[str, tuple[TrainingPath, str]] = {}
    for key, path in paths:
        other, owner = seen.setdefault(path.name.lower(), (path, key))
        if path.name != other.name or not same(path, other):
            raise ConfigError(
                f"{key} and {owner} both call a path '{path.name}', but the paths differ; "
                "rename one of the paradigms, probes or versions"
            )


def _paths_of(graph: Graph) -> Iterator[tuple[str, TrainingPath]]:
    yield from ((f"paradigms.{paradigm.name}", path) for paradigm in graph.paradigms for path in paradigm.paths)
    yield from ((f"probes.{probe.name}", path) for probe in graph.probes for path in probe.paths)
