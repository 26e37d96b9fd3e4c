"""Paths as a tree: a child is below the path that it forks from or continues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from lrps.costs.comparison import Comparison
from lrps.costs.paradigm_costs import PathCosts
from lrps.costs.planned.path_plan import ParentStep, RowRange, ranges_of

DEEPEST = 8
"""Number of levels below the initial weights that are drawn with lines."""
_FORK, _LAST, _LINE, _BLANK = "├─ ", "└─ ", "│  ", "   "


class HasParent(Protocol):
    """Path that knows its name and its parent."""

    @property
    def name(self) -> str:
        """Name of the path."""

    @property
    def parent(self) -> ParentStep | None:
        """State that it starts from; None for the initial weights."""


Path = TypeVar("Path", bound=HasParent)


def tree_rows(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yield each path and its name behind the lines of the tree, parents before children, in the order of their forks.

    Below level DEEPEST the number of the level replaces the lines: the parent is the last path above of the level
    before. So a chain of many versions stays narrow.
    """
    children: dict[str | None, list[Path]] = {}
    for path in paths:
        children.setdefault(path.parent.path if path.parent else None, []).append(path)
    for siblings in children.values():
        siblings.sort(key=lambda path: path.parent.step if path.parent else 0)
    yet_to_come = [("", "", 0, root) for root in reversed(children.get(None, []))]
    while yet_to_come:
        drawn, indent, level, path = yet_to_come.pop()
        yield drawn + path.name, path
        below = children.get(path.name, [])
        last = below[-1:]
        for child in reversed(below):
            lines = indent if level < DEEPEST else f"({level + 1}) "
            ends, continues = (_LAST, _BLANK) if child is last[0] else (_FORK, _LINE)
            yet_to_come.append((lines + ends, indent + continues if level < DEEPEST else "", level + 1, child))


@dataclass(frozen=True)
class GraphPath:
    """Path of a comparison with all paradigms that share it, in the longest of their forms."""

    costs: PathCosts
    """Costs of the longest form."""
    paradigms: tuple[str, ...]
    """Names of the paradigms that share it, in the order of the config."""
    versions: tuple[str, ...]
    """Names of the versions that it releases."""
    ranges: Sequence[RowRange]
    """Rows that the longest form reads."""

    @property
    def name(self) -> str:
        """Name of the path."""
        return self.costs.plan.name

    @property
    def parent(self) -> ParentStep | None:
        """State that it starts from; None for the initial weights."""
        return self.costs.plan.parent


def graph_paths(comparison: Comparison) -> list[GraphPath]:
    """Return every path of a comparison once."""
    found: dict[str, GraphPath] = {}
    for name, paradigm in comparison.paradigms.items():
        released: dict[str, list[str]] = {}
        for release in paradigm.releases:
            released.setdefault(release.path, []).append(release.version)
        for path in paradigm.paths:
            own = GraphPath(path, (), (), ranges_of(path.plan, paradigm.plan.row_ranges))
            known = found.get(path.plan.name, own)
            longest = own if path.plan.stop_step > known.costs.plan.stop_step else known
            found[path.plan.name] = replace(
                longest,
                paradigms=(*known.paradigms, name),
                versions=tuple(dict.fromkeys([*known.versions, *released.get(path.plan.name, ())])),
            )
    return list(found.values())
