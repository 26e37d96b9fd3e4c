"""Atomic, durable files: a reader sees the old content or the new one, also after a power cut."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from lrps.base.errors import DataError

_PIECE = 2**24
_UMASK = os.umask(0o077)  # It can only be read by setting it.
os.umask(_UMASK)
_LONGEST_WRITE_SECONDS = 600.0
"""Age at which a temporary file belongs to no write any more."""


class NotRegularError(DataError, OSError):
    """A named pipe, a socket or a device in place of a file."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}; copy it again"


def regular_file(path: str | Path, flags: int) -> int:
    """Open a file as `os.open` does, and as an `opener` of `open`; NotRegularError for what is no regular file.

    A named pipe would wait for somebody who writes into it, and a device may have no end.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise NotRegularError(errno.EINVAL, "is no regular file", str(path))


def fsync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    _fsync(directory, os.O_RDONLY | os.O_DIRECTORY)


def fsync_file(path: Path) -> None:
    """Make the content of `path` durable, whoever wrote it."""
    _fsync(path, os.O_RDONLY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write_bytes(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write `data` to `path` as a whole or not at all. An OSError leaves the old file and no temporary one.

    private: let nobody but its owner read the file, at no time.
    Removes temporary files of this path that processes left when they were killed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb", opener=partial(os.open, mode=0o600) if private else None) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            _remove_leftovers(path, written=os.fstat(file.fileno()).st_mtime)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def _remove_leftovers(path: Path, written: float) -> None:
    """Remove other temporary files of a path that are older than any write takes. written: time by the same clock."""
    for other in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):  # Its process has finished meanwhile.
            if written - other.stat().st_mtime > _LONGEST_WRITE_SECONDS:
                other.unlink()


def atomic_write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write `text` as UTF-8, like atomic_write_bytes."""
    atomic_write_bytes(path, text.encode(), private=private)


def json_text(value: Any) -> str:
    """Return the text of a JSON file as `atomic_write_json` writes it."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def json_bytes(value: Any) -> bytes:
    """Return the content of a JSON file as `atomic_write_json` writes it."""
    return json_text(value).encode()


def atomic_write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys; NaN and infinity are refused with ValueError."""
    atomic_write_bytes(path, json_bytes(value))


def write_once(path: Path, text: str) -> None:
    """Write `text` to `path` as a whole unless the file exists: of several writers at once, the first one wins."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        fsync_file(temporary)
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:  # A file system without hard links: the last of several writers wins.
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(path.parent)


def located(path: Path) -> str:
    """Return a path for a message that says it was not found: a relative one with the absolute place in brackets."""
    return str(path) if path.is_absolute() else f"{path} ({os.path.abspath(path)})"


def apply_umask(path: Path) -> None:
    """Give a file the permissions that new files get, whatever the library that wrote it gave it."""
    os.chmod(path, 0o666 & ~_UMASK)


def make_read_only(path: Path) -> None:
    """Let nobody write to a file that never changes; it can be read by those who can read new files."""
    os.chmod(path, 0o444 & ~_UMASK)


def sha256_file(path: Path, receive: Callable[[int, memoryview], None] | None = None) -> str:
    """Return the SHA-256 of a file's content, in hex.

    receive: called with (offset, bytes) of every piece, in the order of the file; the next piece overwrites the bytes.
    """
    with open(path, "rb", buffering=0, opener=regular_file) as file:
        return sha256_range(file.fileno(), 0, os.fstat(file.fileno()).st_size, receive)


def sha256_range(
    descriptor: int, offset: int, size: int, receive: Callable[[int, memoryview], None] | None = None
) -> str:
    """Return the SHA-256 of `size` bytes of an open file, from `offset` on, in hex; of fewer if the file ends before.

    receive: as for `sha256_file`; its offsets are those in the file.
    """
    digest = hashlib.sha256()
    for begin, piece in read_range(descriptor, offset, size):
        digest.update(piece)
        if receive is not None:
            receive(begin, piece)
    return digest.hexdigest()


def read_range(descriptor: int, offset: int, size: int) -> Iterator[tuple[int, memoryview]]:
    """Yield (offset, bytes) of `size` bytes of an open file, from `offset` on; of fewer if the file ends before.

    The next piece overwrites the bytes.
    """
    # In large pieces, because a thread waits for the interpreter's lock after each of them.
    end, piece = offset + size, memoryview(bytearray(min(_PIECE, max(1, size))))
    while count := os.preadv(descriptor, [piece[: end - offset]], offset):
        yield offset, piece[:count]
        offset += count
