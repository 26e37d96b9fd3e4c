"""Which candidates become the set: exactly n of them, or as few as fill the rows that are wanted. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lrps.data.order import Permutation
from lrps.rehearsal.demonstrations import key
from lrps.rehearsal.kmeans import Clusters


class Selection(Protocol):
    """A way to choose."""

    def choose(self, count: int) -> list[int]:
        """The numbers of exactly `count` candidates, rising; at most as many as there are."""


@dataclass(frozen=True)
class Random:
    """The first of a seeded order."""

    candidates: int
    seed: int

    def choose(self, count: int) -> list[int]:
        order = Permutation(self.candidates, key("selection", self.seed))
        return sorted(order(np.arange(count)).tolist())


@dataclass(frozen=True)
class ByCluster:
    """From every cluster its share, those that are nearest to the centroid; the earlier one among equals."""

    clusters: Clusters

    def choose(self, count: int) -> list[int]:
        labels, distances = self.clusters.labels, self.clusters.distances
        sizes = np.bincount(labels, minlength=len(self.clusters.centroids)).tolist()
        chosen: list[int] = []
        for number, share in enumerate(apportion(count, sizes)):
            members = np.flatnonzero(labels == number)
            chosen += members[np.argsort(distances[members], kind="stable")[:share]].tolist()
        return sorted(chosen)


def apportion(count: int, sizes: Sequence[int]) -> list[int]:
    """`count` shared in proportion to sizes, exactly: each share is its quota rounded down or up, by largest remainder.

    So no share is beyond its size. count is at most their sum; of equal remainders the earlier one goes first.
    """
    total = sum(sizes)
    if not 0 <= count <= total:
        raise ValueError(f"cannot share {count} among {total}")
    shares = [count * size // max(total, 1) for size in sizes]
    remainders = [count * size % max(total, 1) for size in sizes]
    order = sorted(range(len(sizes)), key=lambda number: (-remainders[number], number))
    for number in order[: count - sum(shares)]:
        shares[number] += 1
    return shares


def fewest(selection: Selection, candidates: int, fills: Callable[[Sequence[int]], bool]) -> list[int] | None:
    """A selection that fills what is wanted, while one with a candidate less does not; None if all do not."""
    too_few, enough = 0, candidates
    if not fills(selection.choose(enough)):
        return None
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if fills(selection.choose(middle)):
            enough = middle
        else:
            too_few = middle
    return selection.choose(enough)
