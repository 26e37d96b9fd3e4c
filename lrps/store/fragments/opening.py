"""Reading the index of a saved state, in either format, with errors that name the file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lrps.base.foreign_json import read_bounded
from lrps.store.checkpoints import Checkpoint, check_segments
from lrps.store.file_errors import readable
from lrps.store.fragments.headers import HeaderIndex, index_of_headers
from lrps.store.fragments.index import INDEX, LARGEST_INDEX, FragmentIndex, read_index
from lrps.store.fragments.ranges import StateIndex


def index_in(directory: Path) -> StateIndex:
    """Return the index of the state in a directory. Raises CheckpointError if it cannot be read."""
    path = directory / INDEX
    if path.exists():
        with readable(path):
            return read_index(read_bounded(path, LARGEST_INDEX).decode())
    return index_of_headers(directory)


def index_of(checkpoint: Checkpoint) -> StateIndex:
    """Return the index of a checkpoint. Raises DamagedCheckpointError if its SHA-256 is not the manifest's.

    In the first format the headers are the index, whose bytes are compared only with those of the whole files.
    """
    path = checkpoint.directory / INDEX
    if INDEX not in checkpoint.manifest["files"]:
        return index_in(checkpoint.directory)
    with readable(path):
        content = read_bounded(path, LARGEST_INDEX)
    segments = {each.file: each for each in checkpoint.segments}
    check_segments(checkpoint, {segments[INDEX]: hashlib.sha256(content).hexdigest()})
    with readable(path):
        return read_index(content.decode())


@dataclass(frozen=True)
class IndexMessage:
    """An index in either format as values that can be sent to another rank."""

    text: str | None
    """Content of index.json."""
    headers: HeaderIndex | None
    """Index of a state in the first format."""

    @classmethod
    def of(cls, index: StateIndex) -> IndexMessage:
        """Return the message with an index."""
        if isinstance(index, FragmentIndex):
            return cls(index.text(), None)
        assert isinstance(index, HeaderIndex)
        return cls(None, index)

    def index(self) -> StateIndex:
        """Return the index in this message."""
        if self.text is not None:
            return read_index(self.text)
        assert self.headers is not None, "one of them is there"
        return self.headers
