"""Where the shards of a version come from: something that gives the local file of a shard."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from lrps.data.manifest import Shard


class ShardFiles(Protocol):
    """The files of one version's shards. Whoever reads checks size and blocks against the manifest."""

    restore: str
    """What a person does about a file that is damaged or missing."""

    def find(self, shard: Shard) -> Path | None:
        """Where the shard is on this machine now; None if it would have to be downloaded."""

    def path(self, shard: Shard) -> Path:
        """The local file of the shard, kept until it is released. May take as long as a download; DataError if that
        fails.

        The file need not exist if no other place is known: the reader's error names it.
        """

    def prefetch(self, shards: Iterable[Shard]) -> None:
        """Start to make these shards local, in this order and in the background; returns at once, never raises.

        They are kept until they are released.
        """

    def release(self, shard: Shard) -> None:
        """The shard is not needed any more, or for now: a cache may remove it. Doing it twice is fine."""

    def close(self) -> None:
        """The reader is gone: fetch nothing more for it, and keep nothing."""


class LocalFiles:
    """Shards that lie in a folder."""

    restore = "Copy it again from where the version was built, or build the version again: `lrps data build CONFIG`."

    def __init__(self, directory: Path) -> None:
        self._directory = Path(directory)

    def find(self, shard: Shard) -> Path | None:
        return self._directory / shard.name

    def path(self, shard: Shard) -> Path:
        return self._directory / shard.name

    def prefetch(self, shards: Iterable[Shard]) -> None:
        """Nothing to do: they are here."""

    def release(self, shard: Shard) -> None:
        """Nothing to do: nothing is ever removed."""

    def close(self) -> None:
        """Nothing to do."""
