"""Reading the index of a saved state, in either format, with errors that name the file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lrps.store.checkpoints import Checkpoint, check_segments
from lrps.store.file_errors import readable
from lrps.store.fragments.headers import index_of_headers
from lrps.store.fragments.index import INDEX, read_index
from lrps.store.fragments.ranges import StateIndex


def index_in(directory: Path) -> StateIndex:
    """Return the index of the state in a directory. Raises CheckpointError if it cannot be read."""
    path = directory / INDEX
    if path.exists():
        with readable(path):
            return read_index(path.read_text(encoding="utf-8"))
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
    check_segments(checkpoint, {segments[INDEX]: hashlib.sha256(content).hexdigest()})
    with readable(path):
        return read_index(content.decode())
