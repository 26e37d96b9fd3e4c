"""Checks of a version's blocks against the crc32 in its manifest.

A reader requires a check of each block before it uses a row of it. Blocks that will be needed soon are checked in the
background, so that the first pass over data that is not in memory does not stall every step; errors there are ignored,
because the reader finds them too. Results are valid for one file only: if it is replaced, its blocks are checked again.
Must not import torch or webdataset.
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
from lrps.base.files import regular_file
from lrps.data.files import ShardFiles
from lrps.data.manifest import ITEM_BYTES, Manifest

FileIdentity = tuple[int, int, int, int]


def file_identity(descriptor: int) -> FileIdentity:
    """Return device, inode, time and size of an open file, which change if it is replaced or written to."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


class BlockChecks:
    """The checks of a version's blocks, each made once. files: returns the shards."""

    def __init__(self, manifest: Manifest, files: ShardFiles) -> None:
        self._manifest, self._files = manifest, files
        self._known = _Known(manifest)
        self._pending: deque[tuple[int, int]] = deque()
        self._thread: threading.Thread | None = None
        # The thread has no reference to this object, so an emptied queue ends it.
        weakref.finalize(self, self._pending.clear)

    @property
    def whole(self) -> np.ndarray:
        """Boolean array: whether each block is known to be intact. Do not write to it."""
        return self._known.whole

    def opened(self, shard: int, identity: FileIdentity) -> None:
        """Record that the reader has opened this file of the shard, and drop results of a file that it replaced."""
        self._known.is_current(shard, identity, forget=True)

    def require(self, shard: int, number: int, tokens: memoryview) -> None:
        """Check block `number`, whose bytes are `tokens`, unless that was done. Raises DataError if it is damaged."""
        if self.whole[number]:
            return
        block = self._manifest.blocks[number]
        if (found := zlib.crc32(tokens)) != block.crc32:
            raise DataError(
                f"{self._files.path(self._manifest.shards[shard])}: block {block.key} is damaged (crc32 {found:08x}, "
                f"the manifest says {block.crc32:08x}). {self._files.restore_hint} `lrps data verify` lists all "
                "damaged blocks."
            )
        self.whole[number] = True

    def announce(self, blocks: Iterable[tuple[int, int]]) -> None:
        """Start to check these (shard, block) in the background, in this order."""
        self._pending.extend(blocks)
        if self._pending and (self._thread is None or not self._thread.is_alive()):
            arguments = (self._manifest, self._files, self._known, self._pending)
            # A daemon thread does not delay the exit of the interpreter.
            self._thread = threading.Thread(target=_check_ahead, args=arguments, name="lrps-checks", daemon=True)
            self._thread.start()


class _Known:
    """The results so far, and the file of each shard that they are valid for."""

    def __init__(self, manifest: Manifest) -> None:
        self.whole = np.zeros(len(manifest.blocks), bool)
        self._blocks = [shard.blocks for shard in manifest.shards]
        self._identities: dict[int, FileIdentity] = {}
        self._lock = threading.Lock()

    def is_current(self, shard: int, identity: FileIdentity, forget: bool = False) -> bool:
        """Return whether the shard's results are valid for this file.

        The first file of a shard becomes the current one. With `forget` any other file does, and the results of the
        former one are dropped.
        """
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
    with contextlib.suppress(IndexError):  # The queue is empty.
        while True:
            shard, number = pending.popleft()
            path = None if known.whole[number] else files.find(manifest.shards[shard])
            if path is not None:
                with contextlib.suppress(OSError):
                    _check_block(manifest, known, shard, number, regular_file(path, os.O_RDONLY))


def _check_block(manifest: Manifest, known: _Known, shard: int, number: int, descriptor: int) -> None:
    """Check one block of an open file, and close it. Reads it, because the reader may unmap its files at any time."""
    try:
        identity, block = file_identity(descriptor), manifest.blocks[number]
        if known.is_current(shard, identity):
            data = os.pread(descriptor, block.tokens * ITEM_BYTES[manifest.dtype], block.offset)
            if zlib.crc32(data) == block.crc32:
                known.found_whole(shard, number, identity)
    finally:
        os.close(descriptor)
