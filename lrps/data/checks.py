"""Which blocks of a version are known to be what its manifest says.

A reader asks for each block before it uses a row of it. Blocks that will be needed soon are read and checked in the
background, so that the first pass over cold data does not stall step after step; whatever goes wrong there is left for
the reader to find. What was found holds for the very file that was looked at: if another one takes its place, all is
checked anew. Must not import torch or webdataset.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
import zlib
from collections import deque
from collections.abc import Iterable

import numpy as np

from lrps.base.errors import DataError
from lrps.data.files import ShardFiles
from lrps.data.manifest import ITEM_BYTES, Manifest

FileIdentity = tuple[int, int, int, int]


def file_identity(descriptor: int) -> FileIdentity:
    """What tells an open file from one that has taken its name, or was written to: device, inode, time and size."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


class Checks:
    """Checks each block once. files: gives the shards."""

    def __init__(self, manifest: Manifest, files: ShardFiles) -> None:
        self._manifest, self._files = manifest, files
        self._known = _Known(manifest)
        self._pending: deque[tuple[int, int]] = deque()
        self._thread: threading.Thread | None = None
        # The thread knows no more than the queue and what is known: it ends with this object.
        weakref.finalize(self, self._pending.clear)

    @property
    def whole(self) -> np.ndarray:
        """Block -> whether it was found whole; to be read only."""
        return self._known.whole

    def opened(self, shard: int, identity: FileIdentity) -> None:
        """The reader has opened this file of the shard: what is known of another one is forgotten."""
        self._known.looks_at(shard, identity, forget=True)

    def require(self, shard: int, number: int, tokens: memoryview) -> None:
        """Check block `number`, whose bytes are `tokens`, if nobody has yet. DataError if it is damaged."""
        if self.whole[number]:
            return
        block = self._manifest.blocks[number]
        if (found := zlib.crc32(tokens)) != block.crc32:
            raise DataError(
                f"{self._files.path(self._manifest.shards[shard])}: block {block.key} is damaged (crc32 {found:08x}, "
                f"the manifest says {block.crc32:08x}). {self._files.restore} `lrps data verify` names all that is "
                "damaged."
            )
        self.whole[number] = True

    def announce(self, blocks: Iterable[tuple[int, int]]) -> None:
        """(shard, block) that will be needed, in this order."""
        self._pending.extend(blocks)
        if self._pending and (self._thread is None or not self._thread.is_alive()):
            arguments = (self._manifest, self._files, self._known, self._pending)
            # A daemon: nobody waits for it at the end.
            self._thread = threading.Thread(target=_check_ahead, args=arguments, name="lrps-checks", daemon=True)
            self._thread.start()


class _Known:
    """What is known of the blocks, and of which file it is known."""

    def __init__(self, manifest: Manifest) -> None:
        self.whole = np.zeros(len(manifest.blocks), bool)
        self._blocks = [shard.blocks for shard in manifest.shards]
        self._identities: dict[int, FileIdentity] = {}
        self._lock = threading.Lock()

    def looks_at(self, shard: int, identity: FileIdentity, forget: bool = False) -> bool:
        """True if this is the file that the shard's blocks are known of, or becomes it (`forget`, or the first)."""
        with self._lock:
            if forget and self._identities.get(shard, identity) != identity:
                self.whole[self._blocks[shard].start : self._blocks[shard].stop] = False
                self._identities[shard] = identity
            return self._identities.setdefault(shard, identity) == identity

    def found_whole(self, shard: int, number: int, identity: FileIdentity) -> None:
        with self._lock:
            if self._identities.get(shard) == identity:
                self.whole[number] = True


def _check_ahead(manifest: Manifest, files: ShardFiles, known: _Known, pending: deque[tuple[int, int]]) -> None:
    with contextlib.suppress(IndexError):  # nothing is pending any more
        while True:
            shard, number = pending.popleft()
            path = None if known.whole[number] else files.find(manifest.shards[shard])
            if path is not None:
                with contextlib.suppress(OSError):
                    _check_block(manifest, known, shard, number, os.open(path, os.O_RDONLY))


def _check_block(manifest: Manifest, known: _Known, shard: int, number: int, descriptor: int) -> None:
    """Read, not mapped: the reader may close its maps at any time. Closes the descriptor."""
    try:
        identity, block = file_identity(descriptor), manifest.blocks[number]
        if known.looks_at(shard, identity):
            data = os.pread(descriptor, block.tokens * ITEM_BYTES[manifest.dtype], block.offset)
            if zlib.crc32(data) == block.crc32:
                known.found_whole(shard, number, identity)
    finally:
        os.close(descriptor)
