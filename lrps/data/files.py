"""Where the shards of a version come from: something that gives the local file of a shard."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from lrps.data.manifest import Shard


class ShardFiles(Protocol):
    """The files of one version's shards. Whoever reads checks size and blocks against the manifest."""

    def path(self, shard: Shard) -> Path:
        """The local file of the shard. May take as long as a download; DataError if that fails.

        The file need not exist if no other place is known: the reader's error names it.
        """

    def prefetch(self, shards: Iterable[Shard]) -> None:
        """Start to make these shards local, in this order and in the background; returns at once, never raises."""

    def release(self, shard: Shard) -> None:
        """The reader has closed the file that `path` gave: a cache may remove it."""


class LocalFiles:
    """Shards that lie in a folder."""

    def __init__(self, directory: Path) -> None:
        self._directory = Path(directory)

    def path(self, shard: Shard) -> Path:
        return self._directory / shard.name

    def prefetch(self, shards: Iterable[Shard]) -> None:
        """Nothing to do: they are here."""

    def release(self, shard: Shard) -> None:
        """Nothing to do: nothing is ever removed."""
