"""Saved states divided among ranks in every way, as strategies for property tests."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from math import prod
from typing import Any

from hypothesis import strategies as st

from lrps.store.fragments.index import FragmentIndex
from lrps.store.fragments.layouts import ElementRange, Layout, Listed, Shares
from lrps.store.fragments.ranges import StoredState

DTYPES = ("F32", "BF16")


@st.composite
def indexes(draw: Any) -> FragmentIndex:
    """The index of a state of a few parameters and states, on a few ranks, in files of any number of them."""
    shapes = draw(st.lists(st.lists(st.integers(1, 5), max_size=2), min_size=1, max_size=6))
    named = {f"p{number}": shape for number, shape in enumerate(shapes)}
    sizes = tuple(prod(shape) for shape in shapes)
    ranks = draw(st.integers(1, 7))
    files = cut(ranks, draw(st.sets(st.integers(1, ranks))))
    layouts: dict[str, Layout] = {"fp32": draw(layouts_of(sizes, ranks, range(len(sizes))))}
    for name in draw(st.sets(st.sampled_from(["exp_avg", "momentum"]))):
        stored = sorted(draw(st.sets(st.sampled_from(range(len(sizes))), min_size=1)))
        layouts[name] = draw(st.sampled_from([layouts["fp32"], draw(layouts_of(sizes, ranks, stored))]))
    states = {name: StoredState("elementwise", draw(st.sampled_from(DTYPES))) for name in layouts}
    return FragmentIndex(named, states, layouts, files, {"adam_step": float(draw(st.integers(0, 9)))})


@st.composite
def layouts_of(draw: Any, sizes: tuple[int, ...], ranks: int, stored: Any) -> Layout:
    """A division by rule, by cutting all parameters in a row, or of whole parameters."""
    how = draw(st.sampled_from(["shares", "row", "whole"]))
    if how == "shares":
        return Shares(ranks, sizes, tuple(stored))
    each: list[list[ElementRange]] = [[] for _ in range(ranks)]
    if how == "whole":
        for parameter in stored:
            each[draw(st.integers(0, ranks - 1))].append(ElementRange(parameter, 0, sizes[parameter]))
        return Listed(tuple(map(tuple, each)))
    total = sum(sizes[parameter] for parameter in stored)
    ends = sorted(draw(st.lists(st.integers(0, total), min_size=ranks - 1, max_size=ranks - 1)))
    begins = dict(zip(stored, accumulate((sizes[p] for p in stored), initial=0), strict=False))
    for rank, (start, stop) in enumerate(pairwise([0, *ends, total])):
        for parameter, begin in begins.items():
            first, last = max(start - begin, 0), min(stop - begin, sizes[parameter])
            if first < last:
                each[rank].append(ElementRange(parameter, first, last))
    return Listed(tuple(map(tuple, each)))


def cut(ranks: int, after: set[int]) -> tuple[int, ...]:
    """The sizes of the groups that consecutive ranks make if they are cut after some of them."""
    return tuple(stop - start for start, stop in pairwise(sorted({0, ranks, *after})))


def stored_parameters(index: FragmentIndex) -> Mapping[str, list[int]]:
    """State -> numbers of the parameters that have values in it."""
    segments = range(sum(index.files))
    return {
        state: sorted({piece.parameter for segment in segments for piece in index.pieces(state, segment)})
        for state in index.states
    }
