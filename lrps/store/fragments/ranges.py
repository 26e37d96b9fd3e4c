"""Ranges of values in the files of a checkpoint, and what an index of them offers, whatever the format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lrps.base.errors import CheckpointError

DTYPE_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}
"""Bytes of a value by type, as safetensors names it."""
STEP = "adam_step"
"""Key of the number of steps that the optimizer has taken."""


@dataclass(frozen=True)
class StoredState:
    """Description of one state in an index: of the weights, or of a state of the optimizer."""

    kind: str
    """`elementwise`: values that belong to single elements; `whole`: values that are needed together."""
    dtype: str
    """Type of the values, as safetensors names it."""


@dataclass(frozen=True)
class StoredRange:
    """Consecutive values of one parameter in a file."""

    file: str
    offset: int
    """Offset in the file in bytes."""
    start: int
    """Position of the first value in the flattened parameter."""
    stop: int
    dtype: str

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return (self.stop - self.start) * DTYPE_BYTES[self.dtype]

    def within(self, start: int, stop: int) -> StoredRange:
        """Return the part of the range between two positions."""
        offset = self.offset + (start - self.start) * DTYPE_BYTES[self.dtype]
        return StoredRange(self.file, offset, start, stop, self.dtype)


class StateIndex(Protocol):
    """An index of the values of a saved state."""

    @property
    def shapes(self) -> Mapping[str, list[int]]:
        """Shapes of all parameters by name, in the model's order."""

    @property
    def states(self) -> Mapping[str, StoredState]:
        """States of which there are values, by name."""

    @property
    def steps(self) -> Mapping[str, float]:
        """Counters, such as the number of steps that the optimizer has taken."""

    def overlapping(self, state: str, name: str, start: int, stop: int) -> Iterable[StoredRange]:
        """Return stored ranges of a parameter that overlap with [start, stop), by position."""


def find_values(
    index: StateIndex, directory: Path, state: str, name: str, start: int, stop: int
) -> Iterator[StoredRange]:
    """Yield ranges that together are elements [start, stop) of a parameter in a state.

    directory: that of the checkpoint, for messages. Raises CheckpointError if some are not there.
    """
    position = start
    for each in index.overlapping(state, name, start, stop):
        if each.start <= position < min(each.stop, stop):
            until = min(each.stop, stop)
            yield each.within(position, until)
            position = until
    if position < stop:
        raise CheckpointError(
            f"{directory}: parameter {name} lacks elements {position} to {stop} of {state}; "
            "the checkpoint is not complete, use an older one"
        )
