"""Whether the files of a version are, to the last byte, the ones that its manifest describes.

Reads everything once. Must not import torch or webdataset.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lrps.data.manifest import ITEM_BYTES, Manifest, Shard, load_manifest

CHUNK_BYTES = 2**22


@dataclass(frozen=True)
class Verification:
    """What was found whole before the first fault. fault: file, block and what is wrong; None if nothing is."""

    manifest: Path
    shards: int
    blocks: int
    bytes: int
    fault: str | None = None

    @property
    def ok(self) -> bool:
        return self.fault is None


def verify_manifest(path: Path, progress: Callable[[int], None] | None = None) -> Verification:
    """Check the size and sha256 of every shard and the crc32 of every block beside the manifest at `path`.

    progress is called with the bytes of each shard that was found whole. DataError if the manifest itself is wrong.
    """
    path = Path(path)
    manifest = load_manifest(path)
    blocks = checked_bytes = 0
    for number, shard in enumerate(manifest.shards):
        if (fault := _shard_fault(path.parent / shard.name, shard, manifest)) is not None:
            return Verification(path, number, blocks, checked_bytes, fault)
        blocks += len(shard.members)
        checked_bytes += shard.bytes
        if progress is not None:
            progress(shard.bytes)
    return Verification(path, len(manifest.shards), blocks, checked_bytes)


def _shard_fault(path: Path, shard: Shard, manifest: Manifest) -> str | None:
    if not path.is_file():
        return f"{path} is missing"
    if (size := path.stat().st_size) != shard.bytes:
        return f"{path} has {size} bytes, {shard.bytes} expected"
    with open(path, "rb") as file:
        # The blocks first: where one is damaged, its name says more than the hash of the whole file.
        for member in shard.members:
            file.seek(member.offset)
            data = file.read(member.tokens * ITEM_BYTES[manifest.dtype])
            if zlib.crc32(data) != member.crc32:
                return f"{path}: block {member.key} is damaged (crc32 {zlib.crc32(data):08x}, not {member.crc32:08x})"
        file.seek(0)
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != shard.sha256:
        return f"{path} is damaged outside its tokens (sha256 {digest.hexdigest()}, not {shard.sha256})"
    return None
