"""Advisory locks on files: one trainer per path, for as long as its process lives."""

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
    """Hold the lock of a directory inside the block. Raises LineageError that names the process that has the lock.

    doing: the work that the error message names, as a past participle.
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
    """Take the lock. Try for a second, since a concurrent `is_locked` has it for a moment."""
    for _ in range(20):
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def is_locked(directory: Path) -> bool:
    """Return True if a process on this machine holds the lock of the directory."""
    try:
        with open(directory / "lock", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def check_free(directory: Path) -> None:
    """Raise LineageError that names the process if one on this machine holds the lock of the directory."""
    if is_locked(directory):
        raise _held(directory)


def last_host(directory: Path) -> str | None:
    """Return the host of the process that holds the lock, or was the last to hold it; None if none ever did.

    The lock itself is not reliable from another host: whether it is visible there depends on the file system.
    """
    try:
        text = (directory / "lock").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    return text.strip().rpartition(" on ")[2] or None
