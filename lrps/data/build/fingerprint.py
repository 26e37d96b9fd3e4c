"""Hashes of input files, and checks that the files have not changed since they were hashed.

Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lrps.base.errors import DataError
from lrps.base.files import located
from lrps.data.build.file_range import Progress, no_progress
from lrps.data.build.pool import run_all

HASH_CHUNK_BYTES = 2**22


class Fingerprint(NamedTuple):
    """Size and SHA-256 of an input file, and its state, which shows a change without reading the file."""

    bytes: int
    sha256: str
    state: tuple[int, int, int]
    """Size, time of the last change in ns, and inode on this machine, when hashing began."""

    @property
    def provenance(self) -> dict[str, Any]:
        """The entries of the file in the manifest."""
        return {"bytes": self.bytes, "sha256": self.sha256}


def fingerprint_inputs(
    inputs: Iterable[Path], processes: int = 1, progress: Progress = no_progress
) -> dict[Path, Fingerprint]:
    """Return the fingerprint of every input file; progress in bytes. Raises DataError for an unreadable file."""
    paths = list(dict.fromkeys(inputs))
    return dict(zip(paths, run_all(_fingerprint, paths, processes, progress), strict=True))


def changed_inputs(fingerprints: Mapping[Path, Fingerprint]) -> list[Path]:
    """Return the files that were changed, replaced or removed since they were hashed."""
    return [path for path, fingerprint in fingerprints.items() if not _is_unchanged(path, fingerprint)]


def check_unchanged(fingerprints: Mapping[Path, Fingerprint]) -> None:
    """Raise DataError if a file was changed since it was hashed."""
    if changed := changed_inputs(fingerprints):
        raise DataError(f"{changed[0]} was changed while it was tokenized; start again")


def _is_unchanged(path: Path, fingerprint: Fingerprint) -> bool:
    try:
        return _state(os.stat(path)) == fingerprint.state
    except OSError:
        return False


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _fingerprint(path: Path, progress: Progress) -> Fingerprint:
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            state = _state(os.fstat(file.fileno()))
            while chunk := file.read(HASH_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                progress(len(chunk))
    except OSError as error:
        raise DataError(
            f"{located(path)}: cannot read this input ({error.strerror}). Correct its path in the config."
        ) from None
    return Fingerprint(size, digest.hexdigest(), state)
