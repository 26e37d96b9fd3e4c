"""Errors of the files of checkpoints, as messages that say where and how to fix it. Imports no torch."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrps.base.errors import CheckpointError, UnreadableCheckpointError

HOW_TO_FIX = (
    "move it out of the run and fetch it from a copy (`lrps pull`); without a copy, move out every later checkpoint of "
    "that path as well, in checkpoints/ and in branch_points/, and `lrps run` trains those steps again"
)
"""How to fix a damaged checkpoint."""


def unreadable(path: Path, why: object) -> UnreadableCheckpointError:
    """Return the error for a file of a checkpoint that this host cannot read. It names the host."""
    return UnreadableCheckpointError(
        f"{path} cannot be read on host {socket.gethostname()} ({why}); the checkpoint stays where it is, since it may "
        "be intact: make the file readable there (mount, permissions, disk) and run again. If no host can read it, "
        f"{HOW_TO_FIX}"
    )


def has_size(path: Path, size: int) -> bool:
    """Return True if a file has this size. Raises UnreadableCheckpointError if this host cannot find out."""
    try:
        return path.stat().st_size == size
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(path, error) from error


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the errors of reading a file, whose bytes may be any, into a CheckpointError that names it."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error!r}); use an older checkpoint") from error


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an OSError into a CheckpointError that says how to fix it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            how_to_fix = "free disk space and run again"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            how_to_fix = "make the directory writable for this user and run again"
        else:
            how_to_fix = "fix that and run again"
        raise CheckpointError(f"{what}: {error}. Earlier checkpoints are untouched; {how_to_fix}") from error
