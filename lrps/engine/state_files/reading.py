"""Reading ranges of a saved state into tensors, hashing whole segments in the same read. Must not import deepspeed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lrps.base.errors import CheckpointError
from lrps.base.files import read_range, regular_file, sha256_range
from lrps.engine.flat_pieces import WEIGHTS
from lrps.engine.state_files.writing import DTYPES
from lrps.store.file_errors import readable
from lrps.store.fragments.opening import index_in
from lrps.store.fragments.ranges import STEP, StateIndex, StoredRange, find_values
from lrps.store.segments import FileSegment


@dataclass(frozen=True)
class SavedState:
    """A saved state of any topology and format, of which nothing but the index has been read."""

    directory: Path
    index: StateIndex

    def check_model(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Raise CheckpointError if names or shapes of the parameters are those of another model."""
        how_to_fix = "it is a checkpoint of another model: give the `model` section that it was trained with"
        for name in (*shapes, *self.index.shapes):
            here, there = shapes.get(name), self.index.shapes.get(name)
            if here is None or there is None or list(here) != list(there):
                raise CheckpointError(
                    f"{self.directory}: parameter {name} is {there or 'absent'} there and {here or 'absent'} in the "
                    f"model; {how_to_fix}"
                )

    def copies(self, state: str, name: str, start: int, target: Tensor) -> Iterator[Copy]:
        """Yield copies that together fill a 1-D tensor with elements of a parameter, from `start` on.

        Raises CheckpointError if some are not there.
        """
        for stored in find_values(self.index, self.directory, state, name, start, start + target.numel()):
            yield Copy(stored, target[stored.start - start : stored.stop - start])


@dataclass(frozen=True)
class Copy:
    """Consecutive values in a file, and the memory that they are read into: 1-D, of any type and device."""

    stored: StoredRange
    target: Tensor


class OpenFiles:
    """Files of one directory, each opened when it is first read, and closed together."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._descriptors: dict[str, int] = {}

    def __enter__(self) -> OpenFiles:
        return self

    def __exit__(self, *_: object) -> None:
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def descriptor(self, name: str) -> int:
        """Return the descriptor of a file. Raises OSError if it cannot be opened."""
        if name not in self._descriptors:
            self._descriptors[name] = regular_file(self.directory / name, os.O_RDONLY)
        return self._descriptors[name]


def read_values(
    files: OpenFiles, copies: Iterable[Copy], hashed: Collection[FileSegment] = ()
) -> dict[FileSegment, str]:
    """Read values into memory; return the SHA-256 of the segments `hashed`, which are read once, as a whole.

    What is copied from a hashed segment is taken from the same read. Raises CheckpointError if a file cannot be read.
    """
    of_files: dict[str, list[Copy]] = {each.file: [] for each in hashed}
    for copy in copies:
        of_files.setdefault(copy.stored.file, []).append(copy)
    digests: dict[FileSegment, str] = {}
    for name, wanted in sorted(of_files.items()):
        with readable(files.directory / name):
            descriptor, rest = files.descriptor(name), wanted
            for segment in (each for each in hashed if each.file == name):
                sinks = _Sinks(copy for copy in rest if _is_within(copy.stored, segment))
                rest = [copy for copy in rest if not _is_within(copy.stored, segment)]
                digests[segment] = sha256_range(descriptor, segment.offset, segment.bytes, sinks.receive)
            for copy in rest:
                _read(descriptor, copy)
    return digests


def _is_within(stored: StoredRange, segment: FileSegment) -> bool:
    return segment.offset <= stored.offset and stored.offset + stored.bytes <= segment.offset + segment.bytes


def _read(descriptor: int, copy: Copy) -> None:
    """Read one range. Raises ValueError if the file ends before it does."""
    sinks = _Sinks([copy])
    for offset, piece in read_range(descriptor, copy.stored.offset, copy.stored.bytes):
        sinks.receive(offset, piece)
    if sinks.waiting:
        raise ValueError(f"it ends before byte {copy.stored.offset + copy.stored.bytes}")


class _Sinks:
    """The memory that waits for ranges of one file, which is read in pieces, in the order of the file."""

    def __init__(self, copies: Iterable[Copy]) -> None:
        self.waiting = deque(sorted(((each.stored.offset, _Sink(each)) for each in copies), key=lambda each: each[0]))
        """Offset from which on a sink lacks bytes, and the sink; empty once all bytes have arrived."""
        while self.waiting and not self.waiting[0][1].missing.numel():
            self.waiting.popleft()

    def receive(self, offset: int, piece: memoryview) -> None:
        """Copy what is wanted of a piece that begins at `offset`."""
        stop = offset + len(piece)
        while self.waiting and self.waiting[0][0] < stop:
            begin, sink = self.waiting.popleft()
            sink.fill(piece[begin - offset :])
            if sink.missing.numel():  # The next piece of the file has the rest.
                self.waiting.appendleft((stop, sink))


class _Sink:
    """The memory of one copy, filled from its start on."""

    def __init__(self, copy: Copy) -> None:
        self._target, dtype = copy.target, DTYPES[copy.stored.dtype]
        # Values of another type than the memory's are collected in their own.
        self._values = copy.target if copy.target.dtype == dtype else torch.empty(len(copy.target), dtype=dtype)
        self.missing = self._values.view(torch.uint8)
        """Bytes that have not arrived yet."""

    def fill(self, piece: memoryview) -> None:
        """Copy the first bytes of a piece, as many as are missing."""
        count = min(len(piece), self.missing.numel())
        self.missing[:count].copy_(torch.frombuffer(piece, dtype=torch.uint8, count=count))
        self.missing = self.missing[count:]
        if not self.missing.numel() and self._values is not self._target:
            self._target.copy_(self._values)


class StateReader:
    """A reader of a saved state, one tensor at a time, without an engine."""

    def __init__(self, saved: SavedState, files: OpenFiles, weights: str = WEIGHTS) -> None:
        self._saved, self._files, self._weights = saved, files, weights

    @property
    def shapes(self) -> Mapping[str, Sequence[int]]:
        """Shapes of all parameters by name, in the model's order."""
        return self._saved.index.shapes

    @property
    def states(self) -> Collection[str]:
        """Names of all states that there are, the weights among them."""
        return self._saved.index.states.keys()

    @property
    def adam_step(self) -> float:
        """Number of steps that the optimizer has taken."""
        return self._saved.index.steps[STEP]

    def read(self, name: str, state: str | None = None) -> Tensor:
        """Return a whole parameter, or its values in a state of the optimizer, in fp32.

        Raises CheckpointError if some are not there.
        """
        whole = torch.empty(tuple(self.shapes[name]), dtype=torch.float32)
        read_values(self._files, self._saved.copies(state or self._weights, name, 0, whole.view(-1)))
        return whole


@contextmanager
def open_state(
    directory: Path, shapes: Mapping[str, Sequence[int]] | None = None, weights: str = WEIGHTS
) -> Iterator[StateReader]:
    """Open the state in a directory, of any topology and format.

    Raises CheckpointError if the shapes are given and differ. weights: name of the state that is read as the weights,
    such as their average.
    """
    saved = SavedState(directory, index_in(directory))
    if shapes is not None:
        saved.check_model(shapes)
    with OpenFiles(directory) as files:
        yield StateReader(saved, files, weights)
