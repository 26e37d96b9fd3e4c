"""The training documents of a version, read by number from its token shards.

Reads the documents' starts of all blocks, and the tokens of the requested blocks only. Must not import torch.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lrps.base.errors import DataError
from lrps.base.files import regular_file
from lrps.data.files import ShardFiles
from lrps.data.manifest import Manifest


class ShardDocuments:
    """A sequence of the training documents of one version."""

    def __init__(self, manifest: Manifest, files: ShardFiles, begin: int | None = None) -> None:
        """Read the starts of all documents, which may download every shard. Raises DataError for a damaged shard.

        begin: id of the BOS token that documents have, if any.
        """
        self._manifest, self._files, self._begin = manifest, files, begin
        self._dtype = np.dtype(manifest.dtype)
        self._shard_of = [shard for shard in manifest.shards for _ in shard.blocks]
        self._starts = [starts for shard in manifest.shards for starts in self._read_starts(files.path(shard))]
        counts = [len(starts) for starts in self._starts]
        if len(counts) != len(manifest.blocks) or sum(counts) != manifest.documents:
            raise DataError(f"the shards of {manifest.version} do not match its manifest. {files.restore_hint}")
        self._first = np.concatenate([[0], np.cumsum(counts)])
        """Number of the first document that starts in each block."""
        self._block: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self._manifest.documents

    def read(self, number: int) -> np.ndarray:
        """Return the tokens of a document, without the EOS and the BOS token."""
        block = int(np.searchsorted(self._first, number, "right")) - 1
        starts = self._starts[block]
        place = number - int(self._first[block])
        begin = int(starts[place])
        pieces = []
        while True:
            after = int(starts[place + 1]) if place + 1 < len(starts) else None
            pieces.append(self._tokens(block)[begin:after])
            if after is not None or block + 1 == len(self._starts):
                break
            # The document continues in the next block, up to the first document that starts there.
            block, begin, place = block + 1, 0, -1
            starts = self._starts[block]
        tokens = np.concatenate(pieces)
        tokens = tokens[1:] if len(tokens) and tokens[0] == self._begin else tokens
        return tokens[:-1] if len(tokens) and tokens[-1] == self._manifest.tokenizer.eos else tokens

    def _tokens(self, number: int) -> np.ndarray:
        if self._block is None or self._block[0] != number:
            block = self._manifest.blocks[number]
            path = self._files.path(self._shard_of[number])
            with open(path, "rb", opener=regular_file) as file:
                file.seek(block.offset)
                content = file.read(block.tokens * self._dtype.itemsize)
            if zlib.crc32(content) != block.crc32:
                raise DataError(f"{path}: block {block.key} is damaged. {self._files.restore_hint}")
            self._block = number, np.frombuffer(content, self._dtype)
        return self._block[1]

    def _read_starts(self, path: Path) -> Sequence[np.ndarray]:
        try:
            with tarfile.open(path, "r:") as tar:
                members = (member for member in tar if member.name.endswith(".docs.npy"))
                return [np.load(io.BytesIO(_content(tar, member)), allow_pickle=False) for member in members]
        except (OSError, tarfile.TarError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as a shard ({error}). {self._files.restore_hint}") from None


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()
