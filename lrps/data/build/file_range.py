"""Ranges of input files: what one reader reads at a time, with its progress and its errors.

Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from lrps.base.errors import DataError
from lrps.base.files import located
from lrps.data.build.kinds import FileKind, kind_of

CHUNK_BYTES = 2**16

Progress = Callable[[int], None]
"""Callback that gets the number of bytes processed since the last call."""


def no_progress(done_bytes: int) -> None:
    """Ignore the progress."""


@dataclass(frozen=True)
class FileRange:
    """A range of documents of one input file.

    start, stop: bytes of the file, or row groups of a .parquet file; files that cannot be cut have one range. bytes:
    size of the range in the file.
    """

    path: Path
    start: int
    stop: int
    bytes: int

    @property
    def kind(self) -> FileKind:
        return kind_of(str(self.path))

    def __str__(self) -> str:
        if self.kind.format == "parquet":
            return f"{self.path}, row groups {self.start} to {self.stop - 1}"
        return f"{self.path} from byte {self.start:,}" if self.start else str(self.path)


class Meter:
    """The progress of one range, in bytes of the file, which is reported in chunks of CHUNK_BYTES."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._reported = progress, total, 0

    def reach(self, done: int) -> None:
        """Report `done` bytes of the range, at most its total, once a chunk is complete."""
        done = min(done, self._total)
        if done - self._reported >= CHUNK_BYTES:
            self._progress(done - self._reported)
            self._reported = done

    def finish(self) -> None:
        """Report what is left of the range."""
        self._progress(self._total - self._reported)
        self._reported = self._total


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise errors of reading a file as DataError with the file's name."""
    try:
        yield
    except EOFError:
        raise DataError(f"{path}: ends in the middle of its compressed data. Copy or download it again.") from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path}: damaged ({error}). Copy or download it again.") from None
    except OSError as error:
        if error.strerror is None:  # That of bz2 and pyarrow, about the content of the file.
            raise DataError(f"{path}: damaged ({error}). Copy or download it again.") from None
        raise DataError(
            f"{located(path)}: cannot read this input ({error.strerror}). Correct its path in the config."
        ) from None
    except ValueError as error:  # pyarrow's
        suffix = "".join(path.suffixes[-1:])
        raise DataError(f"{path}: not a valid {suffix} file ({error}). Copy or make it again.") from None


def optional_module(module: str, extra: str) -> Any:
    """Import a module of an optional package. Raises DataError that names the extra of lrps that installs it."""
    try:
        return import_module(module)
    except ImportError:
        raise DataError(f"{module.split('.')[0]} is not installed: pip install 'lrps[{extra}]'") from None


def file_size(path: Path) -> int:
    """Return the size of a file that can be opened. Raises DataError for another one."""
    with reading(path), open(path, "rb") as file:
        return file.seek(0, io.SEEK_END)
