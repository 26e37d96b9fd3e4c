"""Which blocks of a version are known to be what its manifest says.

A reader asks for each block before it uses a row of it. Blocks that will be needed soon are read and checked in the
background, so that the first pass over cold data does not stall step after step; whatever goes wrong there is left for
the reader to find. Must not import torch or webdataset.
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

from lrps.data.files import ShardFiles
from lrps.data.manifest import ITEM_BYTES, Manifest
from lrps.errors import DataError


class Checks:
    """Checks each block once. files: gives the shards."""

    def __init__(self, manifest: Manifest, files: ShardFiles) -> None:
        self.whole = np.zeros(len(manifest.blocks), bool)
        self._manifest, self._files = manifest, files
        self._pending: deque[tuple[int, int]] = deque()
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._pending.clear)  # the thread, which knows the queue only, then ends

    def require(self, shard: int, number: int, tokens: memoryview) -> None:
        """Check block `number`, whose bytes are `tokens`, if nobody has yet. DataError if it is damaged."""
        if self.whole[number]:
            return
        block = self._manifest.blocks[number]
        if (found := zlib.crc32(tokens)) != block.crc32:
            raise DataError(
                f"{self._files.path(self._manifest.shards[shard])}: block {block.key} is damaged (crc32 {found:08x}, "
                f"the manifest says {block.crc32:08x}). Restore the file; `lrps data verify` names every damaged one."
            )
        self.whole[number] = True

    def announce(self, blocks: Iterable[tuple[int, int]]) -> None:
        """(shard, block) that will be needed, in this order."""
        self._pending.extend(blocks)
        if self._pending and (self._thread is None or not self._thread.is_alive()):
            arguments = (self._manifest, self._files, self.whole, self._pending)
            # A daemon: nobody waits for it at the end.
            self._thread = threading.Thread(target=_check_ahead, args=arguments, name="lrps-checks", daemon=True)
            self._thread.start()


def _check_ahead(manifest: Manifest, files: ShardFiles, whole: np.ndarray, pending: deque[tuple[int, int]]) -> None:
    with contextlib.suppress(IndexError):  # nothing is pending any more
        while True:
            shard, number = pending.popleft()
            if whole[number]:
                continue
            block = manifest.blocks[number]
            with contextlib.suppress(OSError, DataError):
                # Read, not mapped: the reader may close its maps at any time.
                descriptor = os.open(files.path(manifest.shards[shard]), os.O_RDONLY)
                try:
                    data = os.pread(descriptor, block.tokens * ITEM_BYTES[manifest.dtype], block.offset)
                finally:
                    os.close(descriptor)
                whole[number] |= zlib.crc32(data) == block.crc32
