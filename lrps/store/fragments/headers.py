"""The index of a checkpoint in the first format, which has none: it is made of the headers of its files.

Every rank had a safetensors file, with one 1-D fp32 tensor for each piece of each state, keyed `state|name|start`, with
the position of its first value in the flattened parameter. Shapes and the step count are in the metadata of each file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrps.base.errors import CheckpointError
from lrps.base.files import regular_file
from lrps.base.foreign_json import parse_json
from lrps.store.file_errors import readable
from lrps.store.fragments.index import FACTS, file_name
from lrps.store.fragments.ranges import STEP, StoredRange, StoredState

FORMAT = "lrps-fragments/1"
_LENGTH = 8
"""Number of bytes at the start of a safetensors file that hold the length of its header."""
_LARGEST_HEADER = 2**28


@dataclass
class HeaderIndex:
    """The index of a saved state, from the headers of the files that the ranks wrote one each."""

    shapes: Mapping[str, list[int]] = field(default_factory=dict)
    states: dict[str, StoredState] = field(default_factory=dict)
    steps: Mapping[str, float] = field(default_factory=dict)
    _ranges: dict[tuple[str, str], list[StoredRange]] = field(default_factory=dict)

    def add(self, state: str, name: str, stored: StoredRange) -> None:
        """Add a range of a parameter."""
        self.states.setdefault(state, StoredState("elementwise", stored.dtype))
        self._ranges.setdefault((state, name), []).append(stored)

    def overlapping(self, state: str, name: str, start: int, stop: int) -> Iterable[StoredRange]:
        """Return stored ranges of a parameter that overlap with [start, stop), by position."""
        found = self._ranges.get((state, name), [])
        return sorted((each for each in found if each.start < stop and start < each.stop), key=lambda each: each.start)


def index_of_headers(directory: Path) -> HeaderIndex:
    """Return the index of the files in a directory.

    Raises CheckpointError if they are not a complete set in the first format, or if one cannot be read.
    """
    index = HeaderIndex()
    for path in _files(directory):
        with readable(path):
            _add_file(index, path)
    return index


def _add_file(index: HeaderIndex, path: Path) -> None:
    header, begin = _read_header(path)
    facts = parse_json(header.pop("__metadata__", {}).get(FACTS, "{}"), FACTS, largest=_LARGEST_HEADER)
    if facts.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {facts.get('format')!r}, not {FORMAT!r}: use the lrps that wrote it")
    index.shapes, index.steps = facts["shapes"], {STEP: float(facts[STEP])}
    for key, entry in header.items():
        state, name, start = key.split("|")
        if entry["dtype"] != "F32":
            raise CheckpointError(f"{path}: {key} is {entry['dtype']}, not F32; use an older checkpoint")
        stop = int(start) + entry["shape"][0]
        index.add(state, name, StoredRange(path.name, begin + entry["data_offsets"][0], int(start), stop, "F32"))


def _files(directory: Path) -> Iterator[Path]:
    """Yield the files of all ranks. Raises CheckpointError if they are not a complete set."""
    paths = sorted(directory.glob("fragments-*.safetensors"))
    count = len(paths)
    if not paths or [path.name for path in paths] != [file_name(index, count) for index in range(count)]:
        names = ", ".join(path.name for path in paths[:8]) or "no fragments"
        raise CheckpointError(f"{directory} has {names}: not one complete set of files; use an older checkpoint")
    yield from paths


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and the offset at which its values begin, in bytes.

    Raises ValueError if the file does not have the size that the header says.
    """
    with open(path, "rb", opener=regular_file) as file:
        length, size = int.from_bytes(file.read(_LENGTH), "little"), path.stat().st_size
        if length > min(size, _LARGEST_HEADER):
            raise ValueError("it is shorter than its header, or its header is too large")
        header = parse_json(file.read(length), "its header", largest=_LARGEST_HEADER)
    begin = _LENGTH + length
    end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
    if size != begin + end:
        raise ValueError(f"it has {size} bytes, and by its header {begin + end}")
    return header, begin
