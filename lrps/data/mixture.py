"""An even mixture of sources with exact totals: which source gives row t, in integers only.

Must not import anything of ours.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

MAX_ROWS = 2**58


class Mixture:
    """Interleaves `counts[s]` rows of every source s evenly over sum(counts) rows.

    A binary tree of Bresenham lines: each inner node deals its rows to its two children in proportion. The tree is
    Huffman's, so the weights along any way to the root grow at least like Fibonacci's numbers, and the rounding errors
    of half a row each fade: at every t every source is within 1.68 rows (half the sum of the reciprocal Fibonacci
    numbers) of its ideal share t * counts[s] / sum(counts), however many sources there are. A plain chain of lines
    would drift by a row for every second source.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = tuple(counts)
        self.rows = sum(self.counts)
        if not self.counts or min(self.counts) < 0 or self.rows >= MAX_ROWS:
            raise ValueError(f"a mixture needs counts >= 0 that add up to less than 2**58, not {self.counts}")
        self._root = _huffman(self.counts)

    def assign(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(source, index of the row within that source's counts) of the rows t, 1-D in range(rows); both int64."""
        t = np.asarray(t, np.int64)
        source, index = np.empty_like(t), np.empty_like(t)

        def deal(node: _Node, t: np.ndarray, where: np.ndarray) -> None:
            if node.children is None:
                source[where], index[where] = node.source, t
            elif len(t):
                left, right = node.children
                before = _share(t, left.rows, node.rows)
                is_left = _share(t + 1, left.rows, node.rows) > before
                deal(left, before[is_left], where[is_left])
                deal(right, (t - before)[~is_left], where[~is_left])

        deal(self._root, t, np.arange(len(t)))
        return source, index

    def taken(self, t: int) -> tuple[int, ...]:
        """How many rows of each source are among the first t; taken(rows) == counts."""
        if not 0 <= t <= self.rows:
            raise ValueError(f"{t} is not in a mixture of {self.rows} rows")
        taken = [0] * len(self.counts)

        def deal(node: _Node, t: int) -> None:
            if node.children is None:
                taken[node.source] = t
            elif t:
                left, right = node.children
                to_left = int(_share(np.array([t]), left.rows, node.rows)[0])
                deal(left, to_left)
                deal(right, t - to_left)

        deal(self._root, t)
        return tuple(taken)


class _Node:
    """A source (a leaf), or two nodes whose rows are mixed."""

    def __init__(self, rows: int, source: int, children: tuple[_Node, _Node] | None = None) -> None:
        self.rows, self.source, self.children = rows, source, children

    def __lt__(self, other: _Node) -> bool:
        return (self.rows, self.source) < (other.rows, other.source)


def _huffman(counts: Sequence[int]) -> _Node:
    heap = [_Node(rows, source) for source, rows in enumerate(counts)]
    heapq.heapify(heap)
    while len(heap) > 1:
        light, heavy = heapq.heappop(heap), heapq.heappop(heap)
        # The smaller source number breaks ties between equal weights: the tree is a function of the counts alone.
        heapq.heappush(heap, _Node(light.rows + heavy.rows, min(light.source, heavy.source), (light, heavy)))
    return heap[0]


def _share(t: np.ndarray, part: int, whole: int) -> np.ndarray:
    """round(t * part / whole), halves up, for 0 <= t <= whole < 2**58, without overflow.

    Long division, four bits of `part` at a time: `rest` stays below `whole`, so 16 * rest + 15 * t fits in 63 bits.
    """
    quotient, rest = np.zeros_like(t), np.zeros_like(t)
    for shift in range((part.bit_length() + 3) // 4 * 4 - 4, -1, -4):
        carry, rest = np.divmod(rest * 16 + t * (part >> shift & 15), whole)
        quotient = quotient * 16 + carry
    return quotient + (rest * 2 >= whole)
