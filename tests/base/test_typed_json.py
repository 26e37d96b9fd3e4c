"""Typed values that become JSON and back are what they were; others are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.typed_json import from_json_values, to_json_values


class Range(NamedTuple):
    first: int
    last: int


@dataclass(frozen=True)
class Leaf:
    name: str
    sizes: tuple[int, ...]
    place: Path | None
    ratio: float = 0.5
    cached: dict[str, int] = field(default_factory=dict, init=False, compare=False)


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    by_step: Mapping[int, list[str]]
    by_leaf: Mapping[Leaf, Range]
    ranges: tuple[Range, ...] | None
    pair: tuple[str, bool]
    verb: Literal["start", "fork"]
    facts: Mapping[str, Any]


TEXTS = st.text(max_size=4)
LEAVES = st.builds(
    Leaf,
    TEXTS,
    st.lists(st.integers(), max_size=2).map(tuple),
    st.none() | st.just(Path("/a/b")),
    st.floats(allow_nan=False),
)
RANGES = st.builds(Range, st.integers(), st.integers())
TREES = st.builds(
    Tree,
    st.lists(LEAVES, max_size=2).map(tuple),
    st.dictionaries(st.integers(), st.lists(TEXTS, max_size=2), max_size=2),
    st.dictionaries(LEAVES, RANGES, max_size=2),
    st.none() | st.lists(RANGES, max_size=2).map(tuple),
    st.tuples(TEXTS, st.booleans()),
    st.sampled_from(["start", "fork"]),
    st.dictionaries(TEXTS, st.none() | st.integers() | st.lists(TEXTS, max_size=2), max_size=2),
)


@given(TREES)
def test_a_value_comes_back_as_it_was(tree: Tree) -> None:
    restored = from_json_values(Tree, json.loads(json.dumps(to_json_values(tree))))
    assert restored == tree
    assert [type(each) for each in restored.ranges or ()] == [Range] * len(tree.ranges or ())


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (int, "1"),
        (int, True),
        (int, None),
        (str, 1),
        (Path, 1),
        (Range, [1]),
        (Range, {"first": 1, "last": 2}),
        (tuple[int, ...], {"a": 1}),
        (tuple[int, str], [1, "a", 2]),
        (list[int], [1, "a"]),
        (Mapping[int, str], {"a": "b"}),
        (Mapping[int, str], [[1]]),
        (int | None, "a"),
        (Literal["start", "fork"], "resume"),
        (Leaf, {"name": "a"}),
        (Leaf, {"name": "a", "sizes": [], "place": None, "ratio": 1, "cached": {}}),
    ],
)
def test_values_of_another_type_are_refused(kind: Any, values: Any) -> None:
    with pytest.raises(ValueError, match=" is n"):
        from_json_values(kind, values)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", Leaf, [1, lambda: 0]])
def test_what_cannot_be_restored_is_not_sent(value: Any) -> None:
    with pytest.raises(TypeError, match="no type of JSON values"):
        to_json_values(value)
