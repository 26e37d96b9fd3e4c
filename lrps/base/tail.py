"""What was appended to a file since it was last looked at: who follows a running path pays for new lines only.

Floor 1: imports the standard library only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PIECE_BYTES = 2**24
"""As much is read at a time; the rest comes with the next look. Longer than any line."""


class Appended(NamedTuple):
    """What a look at a file found."""

    tail: Tail
    """From where the next look goes on."""
    lines: list[bytes]
    restarted: bool
    """The file is gone, or another or shorter one than before: what was read of it no longer counts."""


@dataclass(frozen=True)
class Tail:
    """How far a file of lines has been read."""

    inode: int | None = None
    offset: int = 0

    def read(self, file: Path, newest_bytes: int | None = None) -> Appended:
        """The whole lines since the last look; a line without its end waits for it.

        newest_bytes: read no more than that at the end of the file, and skip what is before.
        """
        try:
            with open(file, "rb") as lines:
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
        # The first line of a look into the middle has lost its beginning.
        return Appended(tail, found[1:] if skips else found, restarted=self.inode is not None and not same)
