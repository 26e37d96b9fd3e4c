"""Verification of a version's files against its manifest, byte by byte.

Every file is read once, several shards at a time. Must not import torch or webdataset.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rich.console import Console

from lrps.base.errors import DataError
from lrps.base.files import located, regular_file, sha256_file
from lrps.base.progress import byte_progress
from lrps.config.models import Config
from lrps.data.cache import CachedFiles, open_files
from lrps.data.manifest import (
    ITEM_BYTES,
    SPLITS,
    Block,
    Manifest,
    Shard,
    existing_manifests,
    load_manifest,
    made_with_another,
    manifest_path,
)

CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Verification:
    """The result of verifying one manifest.

    shards, blocks, bytes: of the shards without a fault. faults: one sentence each, with file, block and fault.
    """

    manifest: Path
    shards: int
    blocks: int
    bytes: int
    faults: tuple[str, ...] = ()
    elsewhere: int = 0
    """Number of shards that are not on this machine; they are checked when they are downloaded."""

    @property
    def ok(self) -> bool:
        return not self.faults


def verify_manifest(
    path: Path,
    locate: Callable[[Shard], Path | None] | None = None,
    progress: Callable[[int], None] | None = None,
    threads: int | None = None,
) -> Verification:
    """Check the size and SHA-256 of every shard of the manifest at `path`, and the crc32 of every block.

    locate: returns the path of a shard's file, or None if the shard is not on this machine; by default the files are
    beside the manifest. progress: called from several threads with the number of bytes read since the last call.
    threads: one per core by default; both hashes release the GIL. Raises DataError if the manifest itself is invalid.
    """
    path = Path(path)
    manifest = load_manifest(path)
    locate = locate or (lambda shard: path.parent / shard.name)
    progress = progress or (lambda _: None)
    here = [(shard, file) for shard in manifest.shards if (file := locate(shard)) is not None]
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        faults = list(pool.map(lambda pair: _faults(pair[1], pair[0], manifest, progress), here))
    whole = [shard for (shard, _), found in zip(here, faults, strict=True) if not found]
    return Verification(
        path,
        len(whole),
        sum(len(shard.blocks) for shard in whole),
        sum(shard.bytes for shard in whole),
        tuple(fault for found in faults for fault in found),
        len(manifest.shards) - len(here),
    )


def verify_data(config: Config, quiet: bool = False) -> list[dict[str, Any]]:
    """Verify the shards on this machine of every version that has a manifest, and print a verdict for each.

    Returns one dictionary of JSON values per manifest. Raises DataError if no version has a manifest.
    """
    data = config.data
    candidates = [
        (shards.name, manifest_path(data.root, shards.name, split)) for shards in data.shard_sets for split in SPLITS
    ]
    found = [(name, path) for name, path in candidates if path.exists()]
    if not found:
        raise DataError(f"{located(data.root)} has no manifests; run `lrps data build CONFIG` (or `fetch`) first")
    console = Console(highlight=False, quiet=quiet)
    results = []
    with byte_progress(console) as progress:
        for name, path in found:
            files = open_files(data, name)
            locate = files.find if isinstance(files, CachedFiles) else None
            task = progress.add_task(path.stem, total=sum(shard.bytes for shard in load_manifest(path).shards))
            verification = verify_manifest(path, locate, lambda done, task=task: progress.advance(task, done))  # type: ignore[misc]
            progress.remove_task(task)
            hint = "" if verification.ok else f"\n  {files.restore_hint}"
            console.print(_verdict(verification) + hint, markup=False, soft_wrap=True)
            results.append(
                {
                    "manifest": str(path),
                    "ok": verification.ok,
                    "faults": list(verification.faults),
                    "shards_elsewhere": verification.elsewhere,
                }
            )
    return results


def tokenizer_fault(config: Config) -> str | None:
    """Return what is wrong with the file of the tokenizer; None if it is the one that made the shards.

    Raises DataError for a damaged manifest.
    """
    data, path = config.data, located(config.data.tokenizer_path)
    manifests = existing_manifests(data.root, [shards.name for shards in data.shard_sets])
    try:
        found = sha256_file(data.tokenizer_path)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}); restore it from a copy, training and releases need it"
    if not (others := made_with_another(found, manifests)):
        return None
    return f"{path} is not the file that made the shards of {', '.join(others)}; restore that one from a copy"


def _verdict(verification: Verification) -> str:
    faults = "".join(f"\n  DAMAGED: {fault}" for fault in verification.faults)
    elsewhere = f", {verification.elsewhere} shards not on this machine" if verification.elsewhere else ""
    return (
        f"{verification.manifest}: {verification.shards} shards, {verification.blocks} blocks verified"
        f"{elsewhere}{faults}"
    )


def _faults(path: Path, shard: Shard, manifest: Manifest, progress: Callable[[int], None]) -> list[str]:
    """Return the faults of a shard's file: each damaged block by its key, or else a wrong hash of the whole file."""
    damaged: list[str] = []
    digest = hashlib.sha256()
    try:
        with open(path, "rb", opener=regular_file) as file:
            if (size := os.fstat(file.fileno()).st_size) != shard.bytes:
                return [f"{path} has {size} bytes, {shard.bytes} expected"]
            for block, length in _sections(shard, manifest):
                crc32 = 0
                for chunk in _chunks(file, length):
                    digest.update(chunk)
                    crc32 = zlib.crc32(chunk, crc32) if block is not None else 0
                    progress(len(chunk))
                if block is not None and crc32 != block.crc32:
                    damaged.append(f"{path}: block {block.key} is damaged (crc32 {crc32:08x}, not {block.crc32:08x})")
    except FileNotFoundError:
        return [f"{path} is missing"]
    except OSError as error:
        return [f"{path} cannot be read ({error.strerror})"]
    if digest.hexdigest() != shard.sha256 and not damaged:
        return [f"{path} is damaged outside its tokens (sha256 {digest.hexdigest()}, not {shard.sha256})"]
    return damaged


def _sections(shard: Shard, manifest: Manifest) -> Iterator[tuple[Block | None, int]]:
    """Yield (block, bytes) from the first byte of the shard to its last; the block is None between the tokens."""
    at = 0
    for number in shard.blocks:
        block = manifest.blocks[number]
        length = block.tokens * ITEM_BYTES[manifest.dtype]
        yield None, block.offset - at
        yield block, length
        at = block.offset + length
    yield None, shard.bytes - at


def _chunks(file: BinaryIO, length: int) -> Iterator[memoryview]:
    """Yield the next `length` bytes in chunks that share one buffer. Raises OSError if the file ends earlier."""
    buffer = memoryview(bytearray(min(length, CHUNK_BYTES)))
    while length:
        found = file.readinto(buffer[: min(length, len(buffer))])  # type: ignore[attr-defined]
        if not found:
            raise OSError(0, "it became shorter while it was read")
        yield buffer[:found]
        length -= found
