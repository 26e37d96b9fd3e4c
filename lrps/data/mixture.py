"""An even mixture of sources with exact totals: a function from row t to its source, in integer arithmetic.

A change of the function needs a new name in `lrps.data.manifest.MIXTURE`. Must not import other modules of lrps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_ROWS = 2**58


class Mixture:
    """An even interleaving of `counts[s]` rows of every source s over sum(counts) rows.

    The mixture is a binary tree of Bresenham lines: each inner node distributes its rows over its two children in
    proportion to their weights, so that each child is within half a row of its share of the node's rows. At every t
    every source is within 1.5 rows of its ideal share t * counts[s] / sum(counts), for any number of sources.

    Proof: let P0, P1, ... be the weights of the nodes from the parent of a source of weight w to the root. An error of
    half a row at a child contributes w / child of it to the source, so the source's error is at most half of
    1 + w/P0 + w/P1 + ... (without the root). `_balanced` ensures that of two siblings, the heavier one, if it has
    several sources, exceeds the lighter one by at most its lightest source. Let m be the lightest source below P0
    other than w; then P0 - m >= w and P(j+1) >= 2 Pj - m, so Pj >= 2**j w + m, and the sum is below
    1 + 1 + 1/2 + 1/4 + ... = 3. In a chain of lines the error would instead grow by one row per two sources.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = tuple(counts)
        self.rows = sum(self.counts)
        if not self.counts or min(self.counts) < 0 or self.rows >= MAX_ROWS:
            raise ValueError(f"a mixture needs counts >= 0 that add up to less than 2**58, not {self.counts}")
        heaviest_first = sorted(range(len(self.counts)), key=lambda source: (-self.counts[source], source))
        self._root = _balanced([(self.counts[source], source) for source in heaviest_first])

    def assign(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (source, index among the source's rows) of the rows t (1-D, in range(rows)); both int64."""
        t = np.asarray(t, np.int64)
        source, index = np.empty_like(t), np.empty_like(t)

        def deal(node: _Node, t: np.ndarray, where: np.ndarray) -> None:
            if node.children is None:
                source[where], index[where] = node.source, t
            elif len(t):
                left, right = node.children
                before, is_left = _share(t, left.rows, node.rows)
                deal(left, before[is_left], where[is_left])
                deal(right, (t - before)[~is_left], where[~is_left])

        deal(self._root, t, np.arange(len(t)))
        return source, index

    def taken(self, t: int) -> tuple[int, ...]:
        """Return the number of rows of each source among the first t; taken(rows) == counts."""
        if not 0 <= t <= self.rows:
            raise ValueError(f"{t} is not in a mixture of {self.rows} rows")
        taken = [0] * len(self.counts)

        def deal(node: _Node, t: int) -> None:
            if node.children is None:
                taken[node.source] = t
            elif t:
                left, right = node.children
                to_left = int(_share(np.array([t]), left.rows, node.rows)[0][0])
                deal(left, to_left)
                deal(right, t - to_left)

        deal(self._root, t)
        return tuple(taken)


class _Node:
    """A source (a leaf), or two nodes whose rows are mixed."""

    def __init__(self, rows: int, source: int, children: tuple[_Node, _Node] | None = None) -> None:
        self.rows, self.source, self.children = rows, source, children


def _balanced(sources: Sequence[tuple[int, int]]) -> _Node:
    """Return the tree over (count, source), given heaviest first: each is added to the lighter half."""
    if len(sources) == 1:
        return _Node(*sources[0])
    halves: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    rows = [0, 0]
    for count, source in sources:
        # Of equally light halves the one with fewer sources, so that no half stays empty where counts are 0.
        lighter = 0 if (rows[0], len(halves[0])) <= (rows[1], len(halves[1])) else 1
        halves[lighter].append((count, source))
        rows[lighter] += count
    light, heavy = sorted((_balanced(half) for half in halves), key=lambda node: (node.rows, node.source))
    return _Node(light.rows + heavy.rows, min(light.source, heavy.source), (light, heavy))


def _share(t: np.ndarray, part: int, whole: int) -> tuple[np.ndarray, np.ndarray]:
    """Return t * part / whole, rounded half up, and whether t + 1 gives one more; for 0 <= t <= whole < 2**58."""
    if part.bit_length() + whole.bit_length() < 63:
        quotient, rest = np.divmod(t * part, whole)
    else:
        quotient, rest = _long_division(t, part, whole)
    up = rest * 2 >= whole
    return quotient + up, (rest + part) * 2 >= whole + 2 * whole * up


def _long_division(t: np.ndarray, part: int, whole: int) -> tuple[np.ndarray, np.ndarray]:
    """Return divmod(t * part, whole) without overflow.

    Processes four bits of `part` at a time: `rest` is below `whole`, so 16 * rest + 15 * t fits in 63 bits.
    """
    quotient, rest = np.zeros_like(t), np.zeros_like(t)
    for shift in range((part.bit_length() + 3) // 4 * 4 - 4, -1, -4):
        carry, rest = np.divmod(rest * 16 + t * (part >> shift & 15), whole)
        quotient = quotient * 16 + carry
    return quotient, rest
