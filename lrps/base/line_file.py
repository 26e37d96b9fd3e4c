"""An append-only file of lines that a full disk leaves with whole lines only.

Imports the standard library only.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class LineFile:
    """A file open for appending lines, each with one unbuffered write.

    Every method raises OSError. A line that was written in part is cut off, and after a failed write nothing more is
    written, so that the file ends with a whole line even if there is room again.
    """

    def __init__(self, path: Path, mode: str) -> None:
        """Open the file. mode: `x` for a new file, `a` to append after ending a torn last line."""
        self.path = path
        self._file = open(path, f"{mode}b", buffering=0)  # noqa: SIM115 - open for as long as lines come
        self._size = os.fstat(self._file.fileno()).st_size
        self._failed = False
        if self._size and _last_byte(path) != b"\n":
            self.append(b"\n")

    def append(self, line: bytes) -> None:
        """Write a line, which must end with a line feed."""
        if self._failed:
            raise OSError("nothing is written after a failed write")
        try:
            if self._file.write(line) != len(line):
                raise OSError("the disk is full")
        except OSError:
            self._failed = True
            with suppress(OSError):
                self._file.truncate(self._size)
            raise
        self._size += len(line)

    def sync(self) -> None:
        """Make all lines durable. Some file systems find out here that the disk is full."""
        try:
            os.fsync(self._file.fileno())
        except OSError:
            self._failed = True
            raise

    def close(self) -> None:
        self._file.close()


def _last_byte(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read()
