"""The index of a checkpoint: which elements of which parameters each segment has, and the bytes where they are.

`index.json` lists parameters, states and how they are divided among the segments, one for each rank that wrote. All
else follows from it: headers, sizes and offsets of the files, so that every rank computes its own place alone. A file
is a valid safetensors file with one 1-D tensor for each state and segment, keyed `state|segment`, with all pieces of
the segment in a row; the tensors of one segment follow one another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from lrps.base.foreign_json import parse_json
from lrps.store.fragments.layouts import MOST_SEGMENTS, ElementRange, Layout, read_layout
from lrps.store.fragments.ranges import DTYPE_BYTES, StoredRange, StoredState

FORMAT = "lrps-fragments/2"
INDEX = "index.json"
LARGEST_INDEX = 2**30
"""Largest size of an index.json in bytes."""
FACTS = "lrps"
"""Key of the metadata in the header of a file."""
_ALIGNMENT = 8
_MOST_ELEMENTS = 2**48


def file_name(index: int, count: int) -> str:
    """Return the name of file `index` of `count` with values."""
    return f"fragments-{index:05d}-of-{count:05d}.safetensors"


@dataclass(frozen=True)
class FilePlan:
    """The bytes of one file: its header, and where its tensors and segments begin."""

    header: bytes
    tensors: Mapping[tuple[str, int], int]
    """Mapping from state and segment to the offset in the file."""
    extents: Mapping[int, tuple[int, int]]
    """Mapping from segment to offset and size in bytes. The header belongs to the first segment."""


@dataclass(frozen=True)
class FragmentIndex:
    """The index of one saved state."""

    shapes: Mapping[str, list[int]]
    """Shapes of all parameters by name, in the model's order."""
    states: Mapping[str, StoredState]
    """States by name, in the order in which a segment has them."""
    layouts: Mapping[str, Layout]
    """Layout of each state. States with the same division have the same object."""
    files: tuple[int, ...]
    """Number of segments in each file, in the order of ranks."""
    steps: Mapping[str, float]
    """Counters, such as the number of steps that the optimizer has taken."""
    _plans: dict[int, FilePlan] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def names(self) -> list[str]:
        """Names of the parameters by number."""
        return list(self.shapes)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.shapes)}

    @cached_property
    def _file_of(self) -> list[int]:
        return [file for file, count in enumerate(self.files) for _ in range(count)]

    def file_of(self, segment: int) -> str:
        """Return the name of the file that has a segment."""
        return file_name(self._file_of[segment], len(self.files))

    def plan_of(self, segment: int) -> FilePlan:
        """Return the plan of the file that has a segment."""
        file = self._file_of[segment]
        if file not in self._plans:
            first = sum(self.files[:file])
            self._plans[file] = self._plan(range(first, first + self.files[file]))
        return self._plans[file]

    def _plan(self, segments: range) -> FilePlan:
        """Return the plan of a file with these segments."""
        entries: dict[str, Any] = {"__metadata__": {FACTS: json.dumps({"format": FORMAT})}}
        begins, ends, end = {}, {}, 0
        for segment in segments:
            for name, state in self.states.items():
                width = DTYPE_BYTES[state.dtype]
                # The last tensor values may be padding, so that the next tensor is aligned for its own type.
                size = _aligned(self.layouts[name].elements(segment) * width, self._alignment)
                shape, place = [size // width], [end, end + size]
                entries[f"{name}|{segment}"] = {"dtype": state.dtype, "shape": shape, "data_offsets": place}
                begins[name, segment] = end
                end += size
            ends[segment] = end
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (_aligned(len(text), _ALIGNMENT) - len(text))
        header = len(text).to_bytes(8, "little") + text
        tensors = {key: len(header) + begin for key, begin in begins.items()}
        extents, offset = {}, 0
        for segment in segments:
            stop = len(header) + ends[segment]
            extents[segment] = (offset, stop - offset)
            offset = stop
        return FilePlan(header, tensors, extents)

    @cached_property
    def _alignment(self) -> int:
        return max(DTYPE_BYTES[state.dtype] for state in self.states.values())

    def pieces(self, state: str, segment: int) -> Sequence[ElementRange]:
        """Return the pieces of a state in a segment, in their order."""
        return self.layouts[state].pieces(segment)

    def overlapping(self, state: str, name: str, start: int, stop: int) -> Iterator[StoredRange]:
        """Yield stored ranges of a parameter that overlap with [start, stop), by position."""
        number, dtype = self._numbers.get(name), self.states[state].dtype if state in self.states else ""
        if number is None or not dtype:
            return
        for segment, offset, begin, end in self.layouts[state].find(number, start, stop):
            place = self.plan_of(segment).tensors[state, segment] + offset * DTYPE_BYTES[dtype]
            yield StoredRange(self.file_of(segment), place, begin, end, dtype)

    def fault(self) -> str | None:
        """Return which values the index lacks or has twice; None if it has every value of its states once.

        The first state, the weights, must have all parameters.
        """
        sizes = [prod(shape) for shape in self.shapes.values()]
        weights, layout = next(iter(self.layouts.items()))
        for number, name in enumerate(self.names):
            if sizes[number] and number not in layout.stored:
                return f"{weights} of {name}: elements 0 to {sizes[number]} are missing"
        for state, layout in self.layouts.items():
            if (fault := layout.fault(sizes, self.names)) is not None:
                return f"{state} of {fault}"
        return None

    def text(self) -> str:
        """Return the content of index.json."""
        divisions: dict[int, dict[str, Any]] = {}
        for name, layout in self.layouts.items():
            divisions.setdefault(id(layout), {"states": [], **layout.to_json()})["states"].append(name)
        document = {
            "format": FORMAT,
            "parameters": [[name, list(shape)] for name, shape in self.shapes.items()],
            "states": {name: asdict(state) for name, state in self.states.items()},
            "layout": list(divisions.values()),
            "files": list(self.files),
            "steps": dict(self.steps),
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"


def read_index(text: str) -> FragmentIndex:
    """Return the index in an index.json with this content. Raises ValueError or LookupError for another content."""
    document = parse_json(text, INDEX, largest=LARGEST_INDEX)
    if document["format"] != FORMAT:
        raise ValueError(f"it has format {document['format']!r}, not {FORMAT!r}; use the lrps that wrote it")
    shapes = {name: list(shape) for name, shape in document["parameters"]}
    files = tuple(document["files"])
    _check_numbers(shapes, files)
    sizes = [prod(shape) for shape in shapes.values()]
    layouts: dict[str, Layout] = {}
    for division in document["layout"]:
        layouts |= dict.fromkeys(division["states"], read_layout(division, sizes, sum(files)))
    states = {name: StoredState(**state) for name, state in document["states"].items()}
    return FragmentIndex(shapes, states, {name: layouts[name] for name in states}, files, document["steps"])


def _check_numbers(shapes: Mapping[str, list[int]], files: Sequence[int]) -> None:
    """Raise ValueError for numbers that no state has: what follows from them would not fit into memory."""
    for name, shape in shapes.items():
        if not all(type(size) is int and size >= 0 for size in shape) or prod(shape) > _MOST_ELEMENTS:
            raise ValueError(f"{name} has shape {shape!s:.80}")
    if not all(type(count) is int and count > 0 for count in files) or not 0 < sum(files) <= MOST_SEGMENTS:
        raise ValueError("the numbers of segments in its files are not those of ranks")


def _aligned(size: int, alignment: int) -> int:
    """Return the smallest multiple of `alignment` that is not below `size`."""
    return -(-size // alignment) * alignment
