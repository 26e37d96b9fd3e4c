"""Reading the index of a saved state, in either format, with errors that name the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrps.base.errors import CheckpointError
from lrps.store.checkpoints import Checkpoint, check_digests
from lrps.store.file_errors import unreadable
from lrps.store.fragments.headers import index_of_headers
from lrps.store.fragments.index import INDEX, read_index
from lrps.store.fragments.ranges import StateIndex


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the errors of reading a file, whose bytes may be any, into a CheckpointError that names it."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error!r}); use an older checkpoint") from error


def index_in(directory: Path) -> StateIndex:
    """Return the index of the state in a directory. Raises CheckpointError if it cannot be read."""
    path = directory / INDEX
    if path.exists():
        with readable(path):
            return read_index(path.read_text(encoding="utf-8"))
    with readable(directory):
        return index_of_headers(directory)


def index_of(checkpoint: Checkpoint) -> StateIndex:
    """Return the index of a checkpoint. Raises DamagedCheckpointError if its SHA-256 is not the manifest's.

    In the first format the headers are the index, whose bytes are compared only with those of the whole files.
    """
    path = checkpoint.directory / INDEX
    if INDEX not in checkpoint.manifest["files"]:
        return index_in(checkpoint.directory)
    with readable(path):
        content = path.read_bytes()
    segments = {each.file: each for each in checkpoint.segments}
    check_digests(checkpoint, {segments[INDEX]: hashlib.sha256(content).hexdigest()})
    with readable(path):
        return read_index(content.decode())
