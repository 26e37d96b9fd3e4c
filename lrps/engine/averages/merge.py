"""Means of the weights of several states, read one parameter at a time and written one file at a time.

The mean is the plain one: an fp64 sum in the order of the states, divided by their number, rounded to fp32. The states
may have been saved by any number of processes and ZeRO stage each. Needs no engine. Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lrps.base.errors import CheckpointError
from lrps.engine.flat_pieces import WEIGHTS
from lrps.engine.state_files.reading import StateReader, open_state
from lrps.engine.state_files.writing import write_segment
from lrps.store.fragments.index import FragmentIndex
from lrps.store.fragments.layouts import ElementRange, Listed
from lrps.store.fragments.ranges import STEP, StoredState
from lrps.store.segments import FileSegment

SHARD_BYTES = 5 * 10**9
"""Largest size of a file of merged weights in bytes; a larger parameter has a file of its own."""


class NonFiniteStateError(CheckpointError):
    """A state whose weights are not finite, and that must not be averaged."""


class WeightsReader(Protocol):
    """A reader of fp32 weights, one parameter at a time."""

    @property
    def shapes(self) -> Mapping[str, Sequence[int]]: ...

    def read(self, name: str) -> Tensor: ...


class MeanReader:
    """A reader of the mean of the weights of several states. directories: where the states are, for messages."""

    def __init__(self, states: Sequence[StateReader], directories: Sequence[Path]) -> None:
        self._states, self._directories = states, directories

    @property
    def shapes(self) -> Mapping[str, Sequence[int]]:
        """Shapes of all parameters by name, in the model's order."""
        return self._states[0].shapes

    def read(self, name: str) -> Tensor:
        """Return the mean of a parameter, in fp32; of one state its very weights.

        Raises NonFiniteStateError for a state whose weights are not finite.
        """
        total = torch.zeros(tuple(self.shapes[name]), dtype=torch.float64)
        for state, directory in zip(self._states, self._directories, strict=True):
            total += (weights := state.read(name))
            if not torch.isfinite(weights).all():
                raise NonFiniteStateError(
                    f"{directory}: its weights are not finite ({name}), so that their mean with others would not be "
                    "either; a step has broken them: `lrps rewind` takes the path back to a state before it"
                )
        return (total / len(self._states)).float()


@contextmanager
def open_mean(
    directories: Sequence[Path], shapes: Mapping[str, list[int]] | None = None, weights: str = WEIGHTS
) -> Iterator[WeightsReader]:
    """Open the mean of the states in these directories, or a single one. weights: as for `open_state`.

    Raises CheckpointError if their shapes differ from each other, or from `shapes` if these are given.
    """
    with ExitStack() as stack:
        first = stack.enter_context(open_state(directories[0], shapes, weights))
        known = {name: list(shape) for name, shape in first.shapes.items()}
        states = [first, *(stack.enter_context(open_state(each, known, weights)) for each in directories[1:])]
        yield first if len(states) == 1 else MeanReader(states, directories)


def mean_index(shapes: Mapping[str, Sequence[int]]) -> FragmentIndex:
    """Return the index of a mean of states: weights only, whole parameters, one segment a file."""
    sizes = {name: torch.Size(shape).numel() for name, shape in shapes.items()}
    numbers = {name: number for number, name in enumerate(shapes)}
    shards = shards_of({name: 4 * size for name, size in sizes.items()}, SHARD_BYTES)
    layout = Listed(tuple(tuple(ElementRange(numbers[name], 0, sizes[name]) for name in shard) for shard in shards))
    plain = {name: list(shape) for name, shape in shapes.items()}
    weights = {WEIGHTS: StoredState("elementwise", "F32")}
    return FragmentIndex(plain, weights, {WEIGHTS: layout}, (1,) * len(shards), {STEP: 0.0})


def write_mean(
    directories: Sequence[Path], target: Path, rank: int = 0, world_size: int = 1
) -> tuple[FragmentIndex, list[FileSegment]]:
    """Write this rank's share of the files with the mean of some states; return the index and what was written.

    One parameter is in memory. Raises CheckpointError if a state cannot be read or a file not written,
    NonFiniteStateError if the weights of one of several states are not finite.
    """
    with open_mean(directories) as mean:
        index = mean_index(mean.shapes)

        def values(_: str, piece: ElementRange) -> Tensor:
            return mean.read(index.names[piece.parameter]).view(-1)

        return index, [write_segment(target, index, each, values) for each in range(rank, len(index.files), world_size)]


def shards_of(sizes: Mapping[str, int], largest: int) -> list[list[str]]:
    """Divide names, in their order, into shards of at most `largest` bytes; a larger tensor is its own shard."""
    shards: list[list[str]] = [[]]
    bytes_in_shard = 0
    for name, size in sizes.items():
        if shards[-1] and bytes_in_shard + size > largest:
            shards.append([])
            bytes_in_shard = 0
        shards[-1].append(name)
        bytes_in_shard += size
    return shards
