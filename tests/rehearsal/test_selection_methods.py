"""SelectionMethod: exact numbers, fair shares, nearest first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.rehearsal.kmeans import Clusters
from lrps.rehearsal.selection_methods import ClusterSelection, RandomSelection, apportion, smallest_selection

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=8)


@given(SIZES, st.data())
def test_shares_are_exact_and_fair(sizes: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, sum(sizes)))
    shares = apportion(count, sizes)
    assert sum(shares) == count
    for share, size in zip(shares, sizes, strict=True):
        assert share <= size
        assert abs(share * sum(sizes) - count * size) < max(1, sum(sizes)), "the quota, rounded down or up"
    for one, first in zip(shares, sizes, strict=True):
        assert all(other <= one + 1 for other, second in zip(shares, sizes, strict=True) if second <= first)


def test_more_than_there_are_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match="cannot select 4 of 3"):
        apportion(4, [1, 2])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=30), st.data())
def test_the_nearest_of_every_cluster_are_chosen(points: list[tuple[int, int]], data: st.DataObject) -> None:
    labels, distances = (np.array(column) for column in zip(*points, strict=True))
    selection = ClusterSelection(Clusters(np.zeros((4, 1)), labels, distances.astype(float)))
    count = data.draw(st.integers(0, len(points)))
    chosen = selection.choose(count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == count
    for number in range(4):
        inside = [distances[i] for i in chosen if labels[i] == number]
        outside = [distances[i] for i in range(len(points)) if labels[i] == number and i not in chosen]
        assert max(inside, default=-1) <= min(outside, default=99)
    assert np.bincount(labels[chosen].astype(int), minlength=4).tolist() == apportion(
        count, np.bincount(labels, minlength=4).tolist()
    )


@given(st.integers(1, 50), st.integers(0, 3), st.data())
def test_random_choices_are_nested_and_exact(candidates: int, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, candidates))
    chosen = RandomSelection(candidates, seed).choose(count)
    assert chosen == sorted(set(chosen)) == RandomSelection(candidates, seed).choose(count)
    assert len(chosen) == count
    assert set(RandomSelection(candidates, seed).choose(max(0, count - 1))) <= set(chosen)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 200), st.integers(0, 3))
def test_as_few_as_fill_it_are_taken(tokens: list[int], wanted: int, seed: int) -> None:
    def fills(numbers: object) -> bool:
        return sum(tokens[number] for number in numbers) >= wanted  # type: ignore[attr-defined]

    selection = RandomSelection(len(tokens), seed)
    chosen = smallest_selection(selection, len(tokens), fills)
    if chosen is None:
        assert sum(tokens) < wanted
        return
    assert fills(chosen)
    assert not fills(selection.choose(len(chosen) - 1))


def test_seeds_choose_differently() -> None:
    assert RandomSelection(1000, 1).choose(20) != RandomSelection(1000, 2).choose(20)
