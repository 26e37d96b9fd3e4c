"""The interface through which readers get the local files of shards, and its implementation for a directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from lrps.data.manifest import Shard


class ShardFiles(Protocol):
    """The files of one version's shards. The reader checks their sizes and blocks against the manifest."""

    restore_hint: str
    """Advice for error messages: how to replace a file that is damaged or missing."""

    def find(self, shard: Shard) -> Path | None:
        """Return the path of the shard on this machine, or None if it would have to be downloaded."""

    def path(self, shard: Shard) -> Path:
        """Return the local file of the shard, downloaded if necessary, and keep it until `release`.

        The path need not exist if the shard cannot be downloaded: the reader's error names it. Raises DataError if a
        download fails.
        """

    def prefetch(self, shards: Iterable[Shard]) -> None:
        """Start to download these shards in the background, in this order. Returns at once and never raises.

        The shards are kept until they are released.
        """

    def release(self, shard: Shard) -> None:
        """Allow a cache to remove the shard. Repeated calls have no effect."""

    def close(self) -> None:
        """Stop all downloads for this reader and release every shard."""


class LocalFiles:
    """The shards in a directory of this machine."""

    restore_hint = (
        "Copy it again from where the version was built, or build the version again: `lrps data build CONFIG`."
    )

    def __init__(self, directory: Path) -> None:
        self._directory = Path(directory)

    def find(self, shard: Shard) -> Path | None:
        return self._directory / shard.name

    def path(self, shard: Shard) -> Path:
        return self._directory / shard.name

    def prefetch(self, shards: Iterable[Shard]) -> None:
        """Do nothing: the files are local."""

    def release(self, shard: Shard) -> None:
        """Do nothing: local files are never removed."""

    def close(self) -> None:
        """Do nothing: there are no downloads."""
