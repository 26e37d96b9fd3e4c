"""The file with the tokens of one part, between tokenizing and packing: an .npz that is written atomically.

Members, in the order of the documents: `000000.train.tokens`, `000000.train.documents` (one row per document: number of
its tokens and of its bytes of text, and with a template of pairs those of its targets), ..., and last `tally`, the
part's `Tally` as JSON. zip checks every member's crc32
on reading, and a truncated file has no directory. Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import json
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
from lrps.base.files import apply_umask
from lrps.base.foreign_json import parse_json
from lrps.data.build.tally import Tally

CHUNK_TOKENS = 2**22
LAST = "tally"


class PartWriter:
    """The writer of one part. Leaving its context without `close` removes what was written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # A unique name: two machines that tokenize the same part must not write into each other's file.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
        self._temporary = Path(name)
        apply_umask(self._temporary)  # Colleagues who share the folder read the part.
        self._file = os.fdopen(descriptor, "wb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self._chunks = 0
        self._waiting: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._waiting_tokens = 0
        self.tally = Tally()
        """Counts of the part. `add` counts the documents of both splits, the caller those that are left out."""

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):  # On a full disk; the temporary file is removed anyway.
            self._zip.close()
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def add(self, split: str, tokens: np.ndarray, documents: np.ndarray) -> None:
        """Append documents: their tokens, concatenated, and an array of [tokens, text bytes, ...] per document."""
        self._waiting.setdefault(split, []).append((tokens, documents))
        self.tally.documents[split] += len(documents)
        self.tally.tokens[split] += len(tokens)
        self.tally.text_bytes += int(documents[:, 1].sum())
        self._waiting_tokens += len(tokens)
        if self._waiting_tokens >= CHUNK_TOKENS:
            self._write_chunk()

    def close(self) -> None:
        """Finish the file and give it its final name."""
        self._write_chunk()
        self._write(LAST, np.frombuffer(json.dumps(self.tally.to_json()).encode(), np.uint8))
        self._zip.close()
        self._file.close()
        # No fsync: damage by a power failure is found on reading, and the part is made again.
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


def is_complete_part(path: Path) -> bool:
    """Return whether the file exists with all members. Reads its directory only; `read_part` checks every byte."""
    try:
        with zipfile.ZipFile(path) as file:
            return f"{LAST}.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_part(path: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (split, tokens, documents) in chunks, in the order in which they were added.

    Raises DataError for a damaged file, and removes it, so that the next run makes it again.
    """
    with _checked(path) as arrays:
        for name in arrays.files:
            if name.endswith(".tokens"):
                stem = name.removesuffix(".tokens")
                yield stem.split(".")[1], arrays[name], arrays[f"{stem}.documents"]


def read_tally(path: Path) -> Tally:
    """Return the counts of the part. Raises DataError as `read_part` does."""
    with _checked(path) as arrays:
        return Tally.from_json(parse_json(arrays[LAST].tobytes(), LAST))


@contextmanager
def _checked(path: Path) -> Iterator[Any]:
    try:
        with np.load(path) as arrays:
            yield arrays
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        path.unlink(missing_ok=True)
        raise DataError(
            f"{path} was damaged ({error}) and has been removed. Run `lrps data build CONFIG` (or `tokenize`) again."
        ) from None
