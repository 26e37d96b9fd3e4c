"""Text at addresses, which is copied to the cache once: <cache>/text/<hash of the address>/<path there>.

`files.json` in that folder lists the copies with their sizes. It is written last, so the copies are complete once it
exists, and no network is needed any more. Must not import torch.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lrps.base.addresses import redact, scheme_of
from lrps.base.errors import DataError
from lrps.base.files import atomic_write_json, fsync_file
from lrps.base.foreign_json import read_json
from lrps.data.build.kinds import READABLE, kind_of, text_of_directory
from lrps.data.remote import MissingError, TransientError, read_pieces, transfer_fault, with_retries

INDEX = "files.json"
PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Copies:
    """The copies of the files at an address, in order, and the names of the files of a directory that are left out."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]


def find_copies(address: str, cache: Path) -> Copies | None:
    """Return the copies that were made; None if there are none, or not all of them any more."""
    folder = _folder(address, cache)
    try:
        index = read_json(folder / INDEX)
        if any((folder / name).stat().st_size != size for name, size in index["files"]):
            return None
    except FileNotFoundError:
        return None
    return Copies(tuple(folder / name for name, _ in index["files"]), tuple(index["left_out"]))


def make_copies(address: str, cache: Path) -> Copies:
    """Return the copies of the files at an address, after copying them if that was not done.

    One process copies, the others wait. Raises DataError if there is no file of a readable kind, and for every error of
    the other end.
    """
    folder = _folder(address, cache)
    with _locked(folder):
        if (copies := find_copies(address, cache)) is None:
            try:
                files, left_out = _listed(address)
                sizes = [(name, _copy(source, folder / name)) for name, source in files]
            except (MissingError, TransientError) as error:
                raise DataError(f"{error}; correct the `text`, or check credentials and network") from None
            atomic_write_json(folder / INDEX, {"files": sizes, "left_out": left_out})
            copies = Copies(tuple(folder / name for name, _ in files), tuple(left_out))
    return copies


def _folder(address: str, cache: Path) -> Path:
    # The whole address, because a query may choose the file; the hash does not show the secrets in it.
    return cache / "text" / hashlib.sha256(address.encode()).hexdigest()[:16]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _listed(address: str) -> tuple[list[tuple[str, Any]], list[str]]:
    """Return (name, what to read) of the files at an address, and the names that are left out, both sorted.

    What to read is an address, or a pair of a file system of fsspec and a path in it.
    """
    if scheme_of(address) in ("http", "https"):
        name = unquote(urlsplit(address).path).strip("/")
        kind_of(name or redact(address))
        return [(_safe(name, address), address)], []
    try:
        paths, others, system = _search(address)
    except Exception as error:
        raise transfer_fault(error, address) from None
    if not paths:
        raise DataError(f"{redact(address)}: no file of {READABLE} there; correct the `text` of the version")
    paths.sort(key=lambda path: path.split("/"))  # As local paths are sorted.
    return [(_safe(path.strip("/"), address), (system, path)) for path in paths], sorted(others)


def _search(address: str) -> tuple[list[str], list[str], Any]:
    from fsspec.core import url_to_fs

    system, path = url_to_fs(address)
    if "*" in path or "?" in path or "[" in path:
        paths, others = [each for each in system.glob(path) if not system.isdir(each)], []
    elif system.isdir(path):
        below = {each: each.removeprefix(path).strip("/") for each in system.find(path)}
        taken = text_of_directory(name for name in below.values() if "/." not in f"/{name}")
        paths = [each for each, name in below.items() if name in taken]
        others = [name for each, name in below.items() if each not in paths]
    else:
        paths, others = [path], []
    for each in paths:
        kind_of(each)
    return paths, others, system


def _safe(name: str, address: str) -> str:
    """Return a path that stays below the cache's folder. Raises DataError for another one."""
    if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise DataError(f"{redact(address)} lists {name!r}, which is no plain path; name the files one by one")
    return name


def _copy(source: Any, file: Path) -> int:
    """Copy one file, durably, and return its size."""
    temporary = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with_retries(lambda: _write(source, temporary))
        fsync_file(temporary)
        os.replace(temporary, file)
        return file.stat().st_size
    except OSError as error:
        raise DataError(
            f"{file}: cannot write ({error.strerror or error}); free disk space, or set data.cache"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _write(source: Any, file: Path) -> None:
    with open(file, "wb") as copy:
        for piece in read_pieces(source) if isinstance(source, str) else _pieces(*source):
            copy.write(piece)


def _pieces(system: Any, path: str) -> Iterator[bytes]:
    """Yield the bytes of a file of an fsspec file system. Raises DataError if fewer come than were announced."""
    came = 0
    try:
        announced = system.info(path).get("size")
        with system.open(path, "rb") as stream:
            while piece := stream.read(PIECE_BYTES):
                came += len(piece)
                yield piece
        if announced is not None and came != announced:
            raise ConnectionError(f"{came:,} of {announced:,} bytes came")
    except Exception as error:
        raise transfer_fault(error, system.unstrip_protocol(path)) from None
