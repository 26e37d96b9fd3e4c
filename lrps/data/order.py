"""The order in which a source's rows are read: a keyed bijection that is computed on demand and never stored.

It depends only on the source's name, seed and row counts, so adding versions during a run does not move a row of the
others. A change of the bijection needs a new name in `lrps.data.manifest.ORDER`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

import numpy as np

from lrps.base.errors import ConfigError
from lrps.data.manifest import ORDER

MODES = ("full", "window")
ROUNDS = 8
WINDOW_SHARDS = 8
"""Number of shards that `window` shuffles together: about 1 GB."""


class Permutation:
    """A bijection on range(size), selected by the 64-bit `key`; size < 2**62.

    A Feistel network over pairs (left, right) in Z_a x Z_b, with a = ceil(sqrt(size)) and b = ceil(size / a). At most
    a - 1 pairs are outside the range; an image outside is mapped again until it is inside (cycle walking).
    """

    def __init__(self, size: int, key: int) -> None:
        if not 1 <= size < 2**62:
            raise ValueError(f"cannot permute {size} rows")
        a = math.isqrt(size - 1) + 1
        self._size, self._a, self._b = np.uint64(size), np.uint64(a), np.uint64(-(-size // a))
        self._keys = [np.uint64(_key(key, number)) for number in range(ROUNDS)]

    def __call__(self, index: np.ndarray) -> np.ndarray:
        """Return the images of `index` (1-D integers in range(size)), as int64."""
        image = self._feistel(index.astype(np.uint64))
        while len(outside := np.flatnonzero(image >= self._size)):
            image[outside] = self._feistel(image[outside])
        return image.astype(np.int64)

    def _feistel(self, pair: np.ndarray) -> np.ndarray:
        left, right = np.divmod(pair, self._b)
        for number, key in enumerate(self._keys):
            if number % 2:
                right = (right + _splitmix64(left ^ key) % self._b) % self._b
            else:
                left = (left + _splitmix64(right ^ key) % self._a) % self._a
        return left * self._b + right


class Order:
    """A mapping from positions in a source's stream to rows; every epoch of `rows` positions has every row once.

    Mode `full` permutes all rows. Mode `window` permutes the shards, and then the rows inside each group of
    `window_shards` shards, so that data larger than memory is read a few files at a time.
    """

    def __init__(
        self, shard_rows: Sequence[int], *, seed: int, name: str, mode: str = "full", window_shards: int = WINDOW_SHARDS
    ) -> None:
        if mode not in MODES:
            raise ConfigError(f"order {mode!r} is not one of {', '.join(MODES)}")
        self.rows = sum(shard_rows)
        self._shard_rows = np.asarray(shard_rows, np.int64)
        self._first_row = np.cumsum(self._shard_rows) - self._shard_rows
        self._seed, self._name, self._window_shards = seed, name, window_shards
        self._of_epoch = self._full if mode == "full" else self._windows

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Return the rows at `positions` (1-D integers >= 0), as int64. Epoch k has positions from k * `rows` on."""
        epochs, index = np.divmod(np.asarray(positions, np.int64), self.rows)
        rows = np.empty_like(index)
        for epoch in np.unique(epochs).tolist():
            chosen = epochs == epoch
            rows[chosen] = self._of_epoch(epoch, index[chosen])
        return rows

    def _permutation(self, size: int, epoch: int, *part: str | int) -> Permutation:
        return Permutation(size, _key(ORDER, self._seed, self._name, epoch, *part))

    def _full(self, epoch: int, index: np.ndarray) -> np.ndarray:
        return self._permutation(self.rows, epoch)(index)

    def _windows(self, epoch: int, index: np.ndarray) -> np.ndarray:
        shards = len(self._shard_rows)
        order = self._permutation(shards, epoch, "shards")(np.arange(shards))
        starts = np.concatenate([[0], np.cumsum(self._shard_rows[order])])
        edges = np.append(starts[: -1 : self._window_shards], self.rows)
        windows = np.searchsorted(edges, index, "right") - 1
        shuffled = np.empty_like(index)
        for window in np.unique(windows).tolist():
            chosen = windows == window
            within = self._permutation(int(edges[window + 1] - edges[window]), epoch, "window", window)
            shuffled[chosen] = edges[window] + within(index[chosen] - edges[window])
        slot = np.searchsorted(starts, shuffled, "right") - 1
        return self._first_row[order[slot]] + shuffled - starts[slot]


def _key(*parts: str | int) -> int:
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """Apply the splitmix64 finalizer to an array of uint64, whose arithmetic wraps without a warning."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
