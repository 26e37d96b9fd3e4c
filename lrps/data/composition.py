"""The stream of a mixed source: a function from its positions to positions in the streams of its parts.

Must not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrps.data.mixture import Mixture


class Composition:
    """Epochs of one exact mixture after another, in which every part continues at its own next position.

    Position p is in epoch e = p // rows. The mixture of counts[i] rows of every part i assigns its row p % rows to a
    part i and an index there, which is position e * counts[i] + index of the part's own stream. So any prefix of the
    stream reads a prefix of the stream of every part, and is within 1.5 rows of every part's share of it.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        """counts: number of rows of every part in an epoch."""
        self._mixture = Mixture(counts)
        self._counts = np.array(self._mixture.counts, np.int64)
        self.rows = self._mixture.rows
        """Number of rows of an epoch."""

    def deal(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (part, position in the part's stream) of these positions (1-D, >= 0); both int64."""
        epochs, rows = np.divmod(np.asarray(positions, np.int64), self.rows)
        parts, index = self._mixture.assign(rows)
        return parts, epochs * self._counts[parts] + index

    def taken(self, position: int) -> tuple[int, ...]:
        """Return how many rows of every part the first `position` rows read: its next position."""
        epochs, rows = divmod(position, self.rows)
        counted = zip(self._mixture.counts, self._mixture.taken(rows), strict=True)
        return tuple(epochs * count + taken for count, taken in counted)
