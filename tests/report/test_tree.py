"""Paths as a tree."""

from __future__ import annotations

import random
from dataclasses import dataclass

from lrps.costs.planned.path_plan import ParentStep
from lrps.report.tree import DEEPEST, tree_rows


@dataclass(frozen=True)
class _Path:
    name: str
    parent: ParentStep | None = None


def _path(name: str, parent: str, step: int) -> _Path:
    return _Path(name, ParentStep(parent, step))


def test_a_small_tree_is_drawn_with_lines_in_the_order_of_the_forks() -> None:
    paths = [_Path("main"), _path("b2", "main", 20), _path("b1", "main", 10), _path("c", "b1", 15), _Path("other")]
    assert [drawn for drawn, _ in tree_rows(paths)] == ["main", "├─ b1", "│  └─ c", "└─ b2", "other"]


def test_a_chain_of_a_thousand_paths_stays_narrow_and_does_not_recurse() -> None:
    chain = [_Path("v0"), *(_path(f"v{k}", f"v{k - 1}", k) for k in range(1, 1000))]
    drawn = [text for text, _ in tree_rows(chain)]
    assert drawn[DEEPEST] == "   " * (DEEPEST - 1) + f"└─ v{DEEPEST}"
    assert drawn[DEEPEST + 1] == f"({DEEPEST + 1}) └─ v{DEEPEST + 1}"
    assert drawn[999] == "(999) └─ v999"


def test_every_path_comes_once_and_after_its_parent_in_any_forest() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        paths = [
            _path(f"p{k}", f"p{chance.randrange(max(0, k - 3), k)}", chance.randrange(9))
            if k and chance.random() < 0.9
            else _Path(f"p{k}")
            for k in range(60)
        ]
        rows = [path for _, path in tree_rows(paths)]
        position = {path.name: index for index, path in enumerate(rows)}
        assert len(rows) == len(paths)
        assert sorted(position) == sorted(path.name for path in paths)
        assert all(position[path.parent.path] < position[path.name] for path in paths if path.parent)
