"""The files of a checkpoint as its manifest lists them: sizes, and the SHA-256 of every segment of their bytes.

A file that several ranks have written has one segment for each: `{"bytes": B, "segments": [[offset, bytes, sha256],
...]}`, in the order of ranks. Any other file is a single segment: `{"bytes": B, "sha256": S}`. Imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.base.files import regular_file, sha256_range

Entry = Mapping[str, Any]
"""Description of one file in a manifest: its size, and one hash or those of its segments."""


@dataclass(frozen=True)
class FileSegment:
    """A range of the bytes of a file that is hashed by itself."""

    file: str
    """Name of the file."""
    offset: int
    bytes: int
    sha256: str
    rank: int | None = None
    """Number of the rank that wrote it; None if the whole file is one segment."""

    def where(self, path: Path) -> str:
        """Return the file, and the range if it is not the whole file, for messages. path: that of the file."""
        if self.rank is None:
            return str(path)
        return f"{path}, bytes {self.offset} to {self.offset + self.bytes}, written by rank {self.rank},"


def whole_entry(size: int, sha256: str) -> dict[str, Any]:
    """Return the entry of a file that is a single segment."""
    return {"bytes": size, "sha256": sha256}


def segments_of(files: Mapping[str, Entry]) -> tuple[FileSegment, ...]:
    """Return the segments of the files of a manifest, by file name and offset."""
    found: list[FileSegment] = []
    ranks = 0
    for name in sorted(files):
        if (listed := files[name].get("segments")) is None:
            found.append(FileSegment(name, 0, files[name]["bytes"], files[name]["sha256"]))
            continue
        for offset, size, digest in listed:
            found.append(FileSegment(name, offset, size, digest, ranks))
            ranks += 1
    return tuple(found)


def merged_entries(segments: Iterable[FileSegment]) -> dict[str, dict[str, Any]]:
    """Return the entries of files from all segments that their ranks have written."""
    of_files: dict[str, list[list[Any]]] = {}
    for each in segments:
        of_files.setdefault(each.file, []).append([each.offset, each.bytes, each.sha256])
    return {
        name: {"bytes": sum(size for _, size, _ in listed), "segments": sorted(listed)}
        for name, listed in sorted(of_files.items())
    }


def entry_fault(entry: Entry) -> str | None:
    """Return what is wrong with the entry of a file; None if its segments cover its bytes exactly once."""
    end = 0
    for each in segments_of({"": entry}):
        if each.offset != end:
            return f"a segment begins at byte {each.offset} instead of {end}"
        if each.bytes < 0:
            return f"the segment at byte {end} has {each.bytes} bytes"
        end += each.bytes
    return None if end == entry["bytes"] else f"its segments have {end} bytes in all, and the file {entry['bytes']}"


def segment_sizes(entry: Entry) -> tuple[int, ...]:
    """Return the sizes in bytes of the segments of a file."""
    return tuple(each.bytes for each in segments_of({"": entry}))


def content_digest(entry: Entry) -> str:
    """Return what identifies the content of a file: its SHA-256, or that of the list of segments if it has several."""
    return _combined([(each.bytes, each.sha256) for each in segments_of({"": entry})])


def file_digest(path: Path, sizes: Sequence[int]) -> str:
    """Return the `content_digest` of the bytes that a file has now, cut into segments of these sizes."""
    with open(path, "rb", buffering=0, opener=regular_file) as file:
        descriptor, offset, listed = file.fileno(), 0, []
        for size in sizes:
            listed.append((size, sha256_range(descriptor, offset, size)))
            offset += size
    return _combined(listed)


def _combined(listed: Sequence[tuple[int, str]]) -> str:
    if len(listed) == 1:
        return str(listed[0][1])
    return hashlib.sha256("".join(f"{size} {digest}\n" for size, digest in listed).encode()).hexdigest()


def dealt(segments: Sequence[FileSegment], index: int, count: int) -> list[FileSegment]:
    """Return the segments that rank `index` of `count` hashes, in about equal shares of the bytes.

    Neighbouring segments go to one rank, so that each rank of the topology that has saved them gets the one that it
    loads, and with fewer ranks mostly those that it loads. Files beside those of the ranks go to rank 0.
    """
    of_ranks = [each for each in segments if each.rank is not None]
    shared = of_ranks or segments
    total = max(1, sum(each.bytes for each in shared))
    found, before = [], 0
    for each in shared:
        middle = before + each.bytes / 2
        if min(count - 1, int(middle * count / total)) == index:
            found.append(each)
        before += each.bytes
    return found if index or not of_ranks else [*found, *(each for each in segments if each.rank is None)]
