"""The tokens of one part on disk, between tokenizing and packing: an .npz that is complete or not there.

Members, in the order of the documents: `000000.train.tokens`, `000000.train.documents` (a row a document: its tokens
and its bytes of text), ..., and last `empty_documents`. zip checks every member's crc32 when it is read, and a file
that was cut off has no directory. Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from lrps.base.errors import DataError

CHUNK_TOKENS = 2**22
LAST = "empty_documents"


class PartWriter:
    """Writes one part. Leaving the context without `close` removes whatever was written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two machines that were given the same part must not write into each other's file.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
        self._temporary = Path(name)
        self._file = os.fdopen(descriptor, "wb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self._chunks = 0
        self._waiting: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._waiting_tokens = 0

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):  # on a full disk; what is not in its place counts for nothing
            self._zip.close()
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def add(self, split: str, tokens: np.ndarray, documents: np.ndarray) -> None:
        """Append documents: their tokens in one row, and an int64 array of [tokens, text bytes] a document."""
        self._waiting.setdefault(split, []).append((tokens, documents))
        self._waiting_tokens += len(tokens)
        if self._waiting_tokens >= CHUNK_TOKENS:
            self._write_chunk()

    def close(self, empty_documents: int) -> None:
        """Put the part in its place. empty_documents: how many were left out."""
        self._write_chunk()
        self._write(LAST, np.array(empty_documents, np.int64))
        self._zip.close()
        self._file.close()
        # No fsync: what a power cut damages is found when it is read, and made again.
        os.replace(self._temporary, self._path)

    def _write_chunk(self) -> None:
        for split, waiting in self._waiting.items():
            tokens, documents = (np.concatenate(arrays) for arrays in zip(*waiting, strict=True))
            self._write(f"{self._chunks:06d}.{split}.tokens", tokens)
            self._write(f"{self._chunks:06d}.{split}.documents", documents)
        self._chunks += 1
        self._waiting, self._waiting_tokens = {}, 0

    def _write(self, name: str, array: np.ndarray) -> None:
        with self._zip.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)


def is_complete(path: Path) -> bool:
    """Whether the whole part is there. Looks at its directory only; `read_part` checks every byte."""
    try:
        with zipfile.ZipFile(path) as file:
            return f"{LAST}.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_part(path: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(split, tokens, documents) chunk by chunk, as they were added.

    A damaged file is removed, so that the next run makes it again, and is a DataError.
    """
    with _checked(path) as arrays:
        for name in arrays.files:
            if name.endswith(".tokens"):
                stem = name.removesuffix(".tokens")
                yield stem.split(".")[1], arrays[name], arrays[f"{stem}.documents"]


def empty_documents(path: Path) -> int:
    """How many documents of the part were left out because they have no visible character."""
    with _checked(path) as arrays:
        return int(arrays[LAST])


@contextmanager
def _checked(path: Path) -> Iterator[Any]:
    try:
        with np.load(path) as arrays:
            yield arrays
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        path.unlink(missing_ok=True)
        raise DataError(
            f"{path} was damaged ({error}) and is removed. `lrps data build CONFIG` (or `tokenize`) makes it again."
        ) from None
