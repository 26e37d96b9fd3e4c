"""Paths as a tree: a child is below the path that it forks from or continues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from lrps.costs.comparison import Comparison
from lrps.costs.paradigm_costs import PathCosts
from lrps.costs.plan_document import ParentStep


class HasParent(Protocol):
    """Path that knows its name and its parent."""

    @property
    def name(self) -> str:
        """Name of the path."""

    @property
    def parent(self) -> ParentStep | None:
        """State that it starts from; None for the initial weights."""


Path = TypeVar("Path", bound=HasParent)


@dataclass(frozen=True)
class Node(Generic[Path]):
    """Path with the paths that start from it, in the order of their forks."""

    path: Path
    children: tuple[Node[Path], ...]


def lineage(paths: Iterable[Path]) -> tuple[Node[Path], ...]:
    """Return the roots of the tree: the paths that start from the initial weights."""
    known = list(paths)

    def below(parent: str | None) -> tuple[Node[Path], ...]:
        children = [path for path in known if (path.parent.path if path.parent else None) == parent]
        children.sort(key=lambda path: path.parent.step if path.parent else 0)
        return tuple(Node(path, below(path.name)) for path in children)

    return below(None)


def tree_rows(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yield each path and its name behind the lines of the tree, parents before children."""
    for root in lineage(paths):
        yield root.path.name, root.path
        yield from _below(root, "")


def _below(node: Node[Path], indent: str) -> Iterator[tuple[str, Path]]:
    for number, child in enumerate(node.children, 1):
        last = number == len(node.children)
        yield f"{indent}{'└─ ' if last else '├─ '}{child.path.name}", child.path
        yield from _below(child, indent + ("   " if last else "│  "))


@dataclass(frozen=True)
class GraphPath:
    """Path of a comparison with all paradigms that share it, in the longest of their forms."""

    costs: PathCosts
    """Costs of the longest form."""
    paradigms: tuple[str, ...]
    """Names of the paradigms that share it, in the order of the config."""
    versions: tuple[str, ...]
    """Names of the versions that it releases."""

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
        for path in paradigm.paths:
            versions = tuple(r.version for r in paradigm.releases if r.path == path.plan.name)
            known = found.get(path.plan.name, GraphPath(path, (), ()))
            found[path.plan.name] = GraphPath(
                path if path.plan.stop_step > known.costs.plan.stop_step else known.costs,
                (*known.paradigms, name),
                tuple(dict.fromkeys([*known.versions, *versions])),
            )
    return list(found.values())
