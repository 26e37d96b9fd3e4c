"""One trainer a path: an advisory lock on a file, held as long as the process lives."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from lrps.base.errors import LineageError


@contextmanager
def path_lock(directory: Path, doing: str = "trained") -> Iterator[None]:
    """Hold the lock of a path's directory, or of another. Raises LineageError that says who holds it already.

    doing: what is being done to it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "a+", encoding="utf-8") as file:
        if not _acquire(file):
            raise _held(directory, doing)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _held(directory: Path, doing: str = "trained") -> LineageError:
    who = (directory / "lock").read_text(encoding="utf-8", errors="replace").strip() or "another process"
    return LineageError(f"{directory}: is being {doing} by {who}; wait for it, or stop it")


def _acquire(file: TextIO) -> bool:
    """Take the lock, patiently enough for an `is_locked` that looks at this moment."""
    for _ in range(20):
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def is_locked(directory: Path) -> bool:
    """True if a trainer of this machine holds the path."""
    try:
        with open(directory / "lock", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def check_free(directory: Path) -> None:
    """Raises LineageError that says who, if a trainer of this machine holds the path."""
    if is_locked(directory):
        raise _held(directory)


def last_host(directory: Path) -> str | None:
    """The host of the trainer that holds the path, or was the last to hold it; None if none ever did.

    From another host the lock itself cannot be relied on: whether it is seen depends on the file system.
    """
    try:
        text = (directory / "lock").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    return text.strip().rpartition(" on ")[2] or None
