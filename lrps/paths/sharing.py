"""Which paths of several paradigms are one path: trained once, under one name.

The first CPT version is the first PTFS version, and main paths that differ only in how far they go are one main path.
A name that is on disk wins over a new one, so paradigms can be added, removed and reordered in a finished plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lrps.base.errors import ConfigError
from lrps.paths.graph import Fork, Graph, Paradigm, TrainingPath


def share(paradigms: Sequence[Paradigm], existing: Mapping[str, TrainingPath] | None = None) -> Graph:
    """One graph in which equal paths have one name: that of an equal path on disk, or else the first one's.

    existing: name -> path of the run directory. Raises ConfigError if two different paths would share a name.
    """
    known = _Known(existing or {})
    graph = Graph(tuple(_rename(paradigm, known) for paradigm in paradigms))
    _check_names(graph.paradigms)
    return graph


class _Known:
    """The paths that have a name already, found by where they start."""

    def __init__(self, existing: Mapping[str, TrainingPath]) -> None:
        self._by_start: dict[tuple[Fork | None, int], list[TrainingPath]] = {}
        for name, path in existing.items():
            self.add(replace(path, name=name))

    def add(self, path: TrainingPath) -> None:
        self._by_start.setdefault((path.parent, path.start), []).append(path)

    def twin_of(self, path: TrainingPath) -> TrainingPath | None:
        """An equal path; the one of the same name if there are several."""
        twins = self._twins_of(path)
        return next((twin for twin in twins if twin.name == path.name), twins[0] if twins else None)

    def _twins_of(self, path: TrainingPath) -> list[TrainingPath]:
        return [other for other in self._by_start.get((path.parent, path.start), ()) if same(path, other)]


def _rename(paradigm: Paradigm, known: _Known) -> Paradigm:
    """Give every path the name of its twin; remember those that have none."""
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
    """Equal step for step. Only main paths grow: they may differ in length, and are the twins of main paths only."""
    if (path.kind == "main") != (other.kind == "main") or (path.kind != "main" and path.stop != other.stop):
        return False
    return path.extends(other) or other.extends(path)


def _check_names(paradigms: Sequence[Paradigm]) -> None:
    """Raises ConfigError if two different paths would have one directory, also where case does not count."""
    seen: dict[str, tuple[TrainingPath, str]] = {}
    for paradigm, path in _paths_of(paradigms):
        other, owner = seen.setdefault(path.name.lower(), (path, paradigm))
        if path.name != other.name or not same(path, other):
            raise ConfigError(
                f"paradigms.{paradigm} and paradigms.{owner} both call a path '{path.name}', but the paths differ; "
                "rename one of the paradigms or versions"
            )


def _paths_of(paradigms: Sequence[Paradigm]) -> Iterator[tuple[str, TrainingPath]]:
    return ((paradigm.name, path) for paradigm in paradigms for path in paradigm.paths)
