"""Reading the lines that were appended to a file since the last read, so that following a path stays cheap."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lrps.base.files import regular_file

PIECE_BYTES = 2**24
"""Largest number of bytes per read; the rest follows with the next one. Longer than any line."""


class Appended(NamedTuple):
    """The result of a read."""

    tail: Tail
    """Position of the next read."""
    lines: list[bytes]
    """Whole lines, each with its line feed."""
    restarted: bool
    """True if the file is gone, replaced or shorter than before: earlier lines no longer count."""


@dataclass(frozen=True)
class Tail:
    """The position up to which a file of lines has been read."""

    inode: int | None = None
    offset: int = 0

    def read(self, file: Path, newest_bytes: int | None = None) -> Appended:
        """Read the whole lines since the last read; a line without a line feed is left for a later one.

        newest_bytes: largest number of bytes to read at the end of the file; bytes before them are skipped.
        """
        try:
            with open(file, "rb", opener=regular_file) as lines:
                there = os.fstat(lines.fileno())
                same = there.st_ino == self.inode and there.st_size >= self.offset
                start = self.offset if same else 0
                skips = newest_bytes is not None and there.st_size - start > newest_bytes
                if skips and newest_bytes is not None:
                    start = there.st_size - newest_bytes
                lines.seek(start)
                data = lines.read(min(there.st_size - start, PIECE_BYTES))
        except FileNotFoundError:
            return Appended(Tail(), [], restarted=self.inode is not None)
        whole = data[: data.rfind(b"\n") + 1]
        found = [line + b"\n" for line in whole.split(b"\n")[:-1]]
        tail = Tail(there.st_ino, start + len(whole))
        # A read that begins in the middle of the file starts in the middle of a line.
        return Appended(tail, found[1:] if skips else found, restarted=self.inode is not None and not same)
