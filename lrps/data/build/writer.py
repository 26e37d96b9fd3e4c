"""The writer of one split of a version as tar shards, atomically and with reproducible bytes.

Must not import torch.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from lrps.base.errors import DataError
from lrps.base.files import fsync_directory
from lrps.data.manifest import (
    FORMAT,
    Blocks,
    Manifest,
    Shard,
    TokenizerIdentity,
    manifest_path,
    save_manifest,
)
from lrps.data.webdataset import tar_writer

TAR_BLOCK_BYTES = 512


class TokenWriter:
    """A writer that packs documents into blocks of `block_tokens` tokens, and blocks into shards.

    Use it as a context manager: leaving the context without `close` removes what was written. The shards are written in
    a hidden directory and renamed by `close`, which writes the manifest last, so a version exists once its manifest
    does. Raises DataError if the version exists already: a version never changes.
    """

    def __init__(
        self,
        root: Path,
        version: str,
        split: str,
        tokenizer: TokenizerIdentity,
        *,
        block_tokens: int = 2**20,
        blocks_per_shard: int = 64,
    ) -> None:
        self._manifest = manifest_path(root, version, split)
        if self._manifest.exists():
            raise DataError(f"{self._manifest} exists, and a version never changes: build the new data as another one")
        self._version, self._split, self._tokenizer = version, split, tokenizer
        self._blocks_per_shard = blocks_per_shard
        self._buffer = np.empty(block_tokens, token_dtype(tokenizer))
        self._fill = 0
        self._starts: list[np.ndarray] = []
        self._documents = self._text_bytes = 0
        self._blocks = Blocks(version, split)
        self._shards: list[Shard] = []
        self._shard: _ShardFile | None = None
        self._building = self._manifest.parent / f".building-{split}"
        self._lock: int | None = _claim(self._building)

    def __enter__(self) -> TokenWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.abort()

    def add_document(self, tokens: np.ndarray, text_bytes: int) -> None:
        """Append one document: 1-D integer ids of one or more tokens, including EOS. text_bytes: its UTF-8 size."""
        self.add_documents(tokens, np.array([len(tokens)]), text_bytes)

    def add_documents(self, tokens: np.ndarray, lengths: np.ndarray, text_bytes: int) -> None:
        """Append documents of `lengths` tokens each that are concatenated in `tokens`.

        The result is that of adding them one by one. text_bytes: their UTF-8 size in total. Raises ValueError for empty
        documents, DataError for a token outside the vocabulary.
        """
        if tokens.ndim != 1 or lengths.min(initial=1) < 1 or lengths.sum() != len(tokens):
            raise ValueError(f"{tokens.shape} tokens are not documents of one or more tokens each: {lengths}")
        starts = np.cumsum(lengths) - lengths
        self._check_vocabulary(tokens, starts)
        self._documents += len(lengths)
        self._text_bytes += text_bytes
        done = 0
        while done < len(tokens):
            taken = min(len(tokens) - done, len(self._buffer) - self._fill)
            first, last = np.searchsorted(starts, (done, done + taken))
            self._starts.append((starts[first:last] + (self._fill - done)).astype(np.uint32))
            self._buffer[self._fill : self._fill + taken] = tokens[done : done + taken]
            done += taken
            self._fill += taken
            if self._fill == len(self._buffer):
                self._flush()

    def _check_vocabulary(self, tokens: np.ndarray, starts: np.ndarray) -> None:
        vocabulary = self._tokenizer.vocabulary
        if tokens.min(initial=0) < 0 or tokens.max(initial=0) >= vocabulary:
            position = np.argmax((tokens < 0) | (tokens >= vocabulary))
            document = self._documents + int(np.searchsorted(starts, position, "right")) - 1
            raise DataError(
                f"document {document} of {self._version} has a token outside the vocabulary of {vocabulary}: "
                f"tokenize it with {self._tokenizer.name}"
            )

    def close(self, provenance: dict[str, Any]) -> Manifest:
        """Write the last block and shard, give the shards their final names, write the manifest and return it."""
        self._flush()
        self._finish_shard()
        manifest = Manifest(
            format=FORMAT,
            version=self._version,
            split=self._split,
            dtype=self._buffer.dtype.name,
            tokens=sum(shard.tokens for shard in self._shards),
            documents=self._documents,
            text_bytes=self._text_bytes,
            tokenizer=self._tokenizer,
            provenance=provenance,
            shards=tuple(self._shards),
            blocks=self._blocks,
        )
        for shard in self._shards:
            os.replace(self._building / shard.name, self._manifest.parent / shard.name)
        fsync_directory(self._manifest.parent)
        save_manifest(manifest, self._manifest)
        self.abort()
        return manifest

    def abort(self) -> None:
        """Remove everything without a final name. Repeated calls, and calls after `close`, have no effect."""
        if self._lock is None:
            return
        if self._shard is not None:
            self._shard.discard()
            self._shard = None
        shutil.rmtree(self._building, ignore_errors=True)
        os.close(self._lock)
        self._lock = None

    def _flush(self) -> None:
        if not self._fill:
            return
        if self._shard is None:
            name = f"{self._version}-{self._split}-{len(self._shards):06d}.tar"
            self._shard = _ShardFile(self._building / name, self._blocks)
        self._shard.add_block(self._buffer[: self._fill], np.concatenate(self._starts))
        self._fill = 0
        self._starts = []
        if len(self._blocks) - self._shard.first_block == self._blocks_per_shard:
            self._finish_shard()

    def _finish_shard(self) -> None:
        if self._shard is not None:
            self._shards.append(self._shard.finish())
            self._shard = None


def token_dtype(tokenizer: TokenizerIdentity) -> np.dtype:
    """Return the smallest unsigned dtype for the tokens of the vocabulary: uint16 or uint32."""
    return np.dtype(np.uint16 if tokenizer.vocabulary <= 2**16 else np.uint32)


class _ShardFile:
    """A tar file being written, with its hash and its blocks. It is the file object of its own TarWriter."""

    def __init__(self, path: Path, blocks: Blocks) -> None:
        """Open the file. blocks: those of the whole version, to which the shard's are appended."""
        self.first_block = len(blocks)
        self._blocks = blocks
        self._file = open(path, "wb")  # noqa: SIM115  (closed by finish or discard)
        self._path = path
        self._bytes = 0
        self._sha256 = hashlib.sha256()
        self._tar = tar_writer(self)

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self._bytes += len(data)
        return self._file.write(data)

    def add_block(self, tokens: np.ndarray, starts: np.ndarray) -> None:
        key = self._blocks.key(len(self._blocks))
        block = _npy(tokens)
        self._tar.write({"__key__": key, "docs.npy": _npy(starts), "tokens.npy": block})
        # TarWriter sorts the fields, so the tokens are the last member, padded to whole tar blocks. numpy pads its
        # header to 64 bytes, so the tokens are aligned for a reader that maps the file.
        padded = -(-len(block) // TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES
        offset = self._tar.tarstream.offset - padded + len(block) - tokens.nbytes
        self._blocks.append(offset, len(tokens), zlib.crc32(tokens.data))

    def finish(self) -> Shard:
        blocks = range(self.first_block, len(self._blocks))
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Shard(
            name=self._path.name,
            url=self._path.name,
            bytes=self._bytes,
            sha256=self._sha256.hexdigest(),
            tokens=sum(self._blocks.tokens[blocks.start : blocks.stop]),
            blocks=blocks,
        )

    def discard(self) -> None:
        """Close the file of a shard that is not kept."""
        # Otherwise their finalizers would write the end of the tar into the closed file and print errors.
        self._tar.tarstream.closed = self._tar.tarstream.fileobj.closed = True
        with suppress(OSError):  # Closing may fail on a full disk.
            self._file.close()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _claim(building: Path) -> int:
    """Create and lock a directory for this process, until the returned descriptor is closed.

    Files of a killed build in it are removed with the directory when this build ends. Raises DataError if another
    process has it locked.
    """
    building.mkdir(parents=True, exist_ok=True)
    lock = os.open(building, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise DataError(f"{building}: another process is building this version. Wait for it, or stop it.") from None
    return lock
