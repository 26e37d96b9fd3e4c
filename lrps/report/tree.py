"""Paths as a tree: a child stands below the path that it forks from or goes on from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Node:
    """A described path and what starts from it, by the step of the fork."""

    path: Mapping[str, Any]
    children: tuple[Node, ...]


def lineage(paths: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The roots: paths that start from the initial weights. Every path needs `name` and `parent` ({path, step})."""
    known = list(paths)

    def below(parent: str | None) -> tuple[Node, ...]:
        mine = [p for p in known if (p["parent"]["path"] if p["parent"] else None) == parent]
        mine.sort(key=lambda p: p["parent"]["step"] if p["parent"] else 0)
        return tuple(Node(path, below(path["name"])) for path in mine)

    return below(None)


def tree_rows(paths: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name with the lines of the tree before it, path), parents before children."""
    for root in lineage(paths):
        yield root.path["name"], root.path
        yield from _below(root, "")


def _below(node: Node, indent: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, child in enumerate(node.children, 1):
        last = number == len(node.children)
        yield f"{indent}{'└─ ' if last else '├─ '}{child.path['name']}", child.path
        yield from _below(child, indent + ("   " if last else "│  "))


def paths_once(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every path of a comparison once, the longest form of a shared one, with the `paradigms` and `versions` that it
    serves."""
    found: dict[str, dict[str, Any]] = {}
    for name, paradigm in document["paradigms"].items():
        for path in paradigm["paths"]:
            known = found.get(path["name"])
            longest = path if known is None or path["stop_step"] > known["stop_step"] else known
            versions = {r["version"]: None for r in paradigm["releases"] if r["path"] == path["name"]}
            found[path["name"]] = {
                **longest,
                "paradigms": [*(known["paradigms"] if known else ()), name],
                "versions": list(dict.fromkeys([*(known["versions"] if known else ()), *versions])),
            }
    return list(found.values())
