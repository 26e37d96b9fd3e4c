"""The methods that select candidates: at random or by clusters, and the smallest selection that fills a set. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lrps.data.order import Permutation
from lrps.rehearsal.demonstrations import permutation_key
from lrps.rehearsal.kmeans import Clusters


class SelectionMethod(Protocol):
    """A method that selects candidates."""

    def choose(self, count: int) -> list[int]:
        """Return the numbers of exactly `count` candidates, ascending. count: at most the number of candidates."""


@dataclass(frozen=True)
class RandomSelection:
    """A selection of the first candidates of a seeded order."""

    candidates: int
    seed: int

    def choose(self, count: int) -> list[int]:
        order = Permutation(self.candidates, permutation_key("selection", self.seed))
        return sorted(order(np.arange(count)).tolist())


@dataclass(frozen=True)
class ClusterSelection:
    """A selection of every cluster's share: candidates nearest to the centroid, the earlier of equally near ones."""

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
    """Divide `count` in proportion to the sizes, by the largest-remainder method; no share exceeds its size.

    Of equal remainders the earlier one is rounded up first. Raises ValueError if count exceeds the sum of the sizes.
    """
    total = sum(sizes)
    if not 0 <= count <= total:
        raise ValueError(f"cannot select {count} of {total}")
    shares = [count * size // max(total, 1) for size in sizes]
    remainders = [count * size % max(total, 1) for size in sizes]
    order = sorted(range(len(sizes)), key=lambda number: (-remainders[number], number))
    for number in order[: count - sum(shares)]:
        shares[number] += 1
    return shares


def smallest_selection(
    selection: SelectionMethod, candidates: int, fills: Callable[[Sequence[int]], bool]
) -> list[int] | None:
    """Return a selection that satisfies `fills`, while one candidate less does not; None if even all do not."""
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
