"""The documents of input files (text, JSON lines, plain or compressed, and parquet), and parts of bounded size.

Compressed files are streamed, and of parquet one column is read in batches, so memory does not grow with the files.
pyarrow and zstandard are optional and imported on first use. Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from lrps.base.errors import DataError

PART_BYTES = 64 * 10**6
SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
TEXT_KEY = "text"

CHUNK_BYTES = 2**16
ZSTD_WINDOW_BYTES = 2**31
"""Largest window that is accepted: that of `zstd --long=31`. The library's own default limit is 2^27."""
ROWS_AT_ONCE = 256

Progress = Callable[[int], None]
"""Callback that gets the number of bytes processed since the last call."""


def no_progress(done_bytes: int) -> None:
    """Ignore the progress."""


@dataclass(frozen=True)
class FileRange:
    """A range of documents of one input file.

    start, stop: bytes of the file, or row groups of a .parquet file; other files than .jsonl and .parquet have one
    range. bytes: size of the range in the file.
    """

    path: Path
    start: int
    stop: int
    bytes: int

    @property
    def suffix(self) -> str:
        return suffix_of(self.path)

    def __str__(self) -> str:
        if self.suffix == ".parquet":
            return f"{self.path}, row groups {self.start} to {self.stop - 1}"
        return f"{self.path} from byte {self.start:,}" if self.start else str(self.path)


@dataclass(frozen=True)
class InputPart:
    """Consecutive pieces of the inputs that are tokenized together."""

    pieces: tuple[FileRange, ...]

    @property
    def bytes(self) -> int:
        return sum(piece.bytes for piece in self.pieces)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The input files of the part, each once, in order."""
        return tuple(dict.fromkeys(piece.path for piece in self.pieces))

    def __str__(self) -> str:
        first, last = self.pieces[0], self.pieces[-1]
        return str(first) if first == last else f"{first} to {last}"


def suffix_of(path: Path) -> str:
    """Return the suffix in SUFFIXES that determines the file's reader. Raises DataError for another one."""
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        unknown = path.suffix or "a file without a suffix"
        raise DataError(f"{path}: cannot read {unknown}. Give {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} files.")
    return suffix


def parts_of(inputs: Sequence[Path], part_bytes: int = PART_BYTES) -> list[InputPart]:
    """Cut the inputs into parts, in order. The result depends on the inputs only, not on the machine.

    A .jsonl file is cut every `part_bytes` (a line belongs to the part that it starts in), a .parquet file between row
    groups; any other file is one piece. Neighbouring pieces are joined up to `part_bytes`, to keep the number of token
    files low. Raises DataError for a file that is missing or of an unknown kind.
    """
    pieces = (piece for path in inputs for piece in _pieces(path, part_bytes))
    return [InputPart(tuple(run)) for run in _runs(pieces, part_bytes)]


def _pieces(path: Path, part_bytes: int) -> list[FileRange]:
    suffix = suffix_of(path)
    size = _size(path)
    if suffix == ".parquet":
        runs = _runs(_row_groups(path), part_bytes)
        return [FileRange(path, run[0].start, run[-1].stop, sum(group.bytes for group in run)) for run in runs]
    if suffix == ".jsonl" and size:
        stops = [(start, min(start + part_bytes, size)) for start in range(0, size, part_bytes)]
        return [FileRange(path, start, stop, stop - start) for start, stop in stops]
    return [FileRange(path, 0, size, size)]


def _runs(pieces: Iterable[FileRange], limit: int) -> Iterator[list[FileRange]]:
    """Group consecutive pieces up to `limit` bytes; a larger piece is a group of its own."""
    run: list[FileRange] = []
    size = 0
    for piece in pieces:
        if run and size + piece.bytes > limit:
            yield run
            run, size = [], 0
        run.append(piece)
        size += piece.bytes
    if run:
        yield run


def read_documents(part: InputPart, text_key: str = TEXT_KEY, progress: Progress = no_progress) -> Iterator[str]:
    """Yield the texts of a part in order, including empty ones; null counts as empty.

    text_key: the key of a JSON line, or the parquet column, with the text. The progress adds up to `part.bytes`. Raises
    DataError with file and line or row for input that cannot be read.
    """
    for piece in part.pieces:
        if piece.suffix == ".txt":
            with _reading(piece.path):
                data = piece.path.read_bytes()
            progress(piece.bytes)
            yield _decode(data.removeprefix(codecs.BOM_UTF8), str(piece.path))
        elif piece.suffix == ".parquet":
            yield from _parquet_texts(piece, text_key, progress)
        else:
            lines = _lines_of_range if piece.suffix == ".jsonl" else _lines_of_stream
            for line, where in lines(piece, progress):
                yield _text_of(line, text_key, where)


def _lines_of_range(piece: FileRange, progress: Progress) -> Iterator[tuple[bytes, str]]:
    """Yield (line, its location for messages) of the lines that start in the piece, without blank ones."""
    with _reading(piece.path), open(piece.path, "rb") as file:
        if piece.start:
            # Skip the rest of a line that starts before the piece; only its "\n" if the line ends there.
            file.seek(piece.start - 1)
            file.readline()
        position, number = file.tell(), 0
        reported = piece.start
        while position < piece.stop and (line := file.readline()):
            # In later pieces the number of a line is unknown without reading the earlier ones.
            number += 1
            where = f"{piece.path}, line at byte {position}" if piece.start else f"{piece.path}, line {number}"
            position += len(line)
            reported = _report(min(position, piece.stop), reported, progress)
            if number == 1 and not piece.start:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield line, where
    progress(piece.stop - reported)


def _lines_of_stream(piece: FileRange, progress: Progress) -> Iterator[tuple[bytes, str]]:
    """Yield (line, its location for messages) of a compressed file, without blank lines."""
    with _reading(piece.path), open(piece.path, "rb") as file:
        reported = 0
        lines = gzip.GzipFile(fileobj=file) if piece.suffix == ".jsonl.gz" else io.BufferedReader(_ZstdStream(file))
        if not piece.bytes:
            raise EOFError
        for number, line in enumerate(lines, 1):
            reported = _report(min(file.tell(), piece.bytes), reported, progress)
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield line, f"{piece.path}, line {number}"
    progress(piece.bytes - reported)


def _report(position: int, reported: int, progress: Progress) -> int:
    """Call progress if a chunk of CHUNK_BYTES is complete; return the position that is reported so far."""
    if position - reported < CHUNK_BYTES:
        return reported
    progress(position - reported)
    return position


class _ZstdStream(io.RawIOBase):
    """A decompressed zstd file of one or more frames. Raises EOFError if it is truncated, unlike the library."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._library = _optional("zstandard", "zst")
        self._frame = self._new_frame()
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            data = self._frame.unused_data if self._frame.eof else b""
            if not (data := data or self._file.read(CHUNK_BYTES)):
                if not self._frame.eof:
                    raise EOFError
                return 0
            if self._frame.eof:
                self._frame = self._new_frame()
            try:
                self._left = memoryview(self._frame.decompress(data))
            except self._library.ZstdError as error:
                raise zlib.error(str(error)) from None
        taken = min(len(buffer), len(self._left))
        buffer[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        return taken

    def _new_frame(self) -> Any:
        return self._library.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj()


def _row_groups(path: Path) -> Iterator[FileRange]:
    with _reading(path), _parquet_file(path) as file:
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            size = sum(group.column(k).total_compressed_size for k in range(group.num_columns))
            yield FileRange(path, number, number + 1, size)


def _parquet_texts(piece: FileRange, column: str, progress: Progress) -> Iterator[str]:
    with _reading(piece.path), _parquet_file(piece.path) as file:
        if column not in (columns := file.schema_arrow.names):
            found = ", ".join(columns)
            raise DataError(f'{piece.path}: has no column "{column}", only {found}. Set data.text_key.')
        groups = range(piece.start, piece.stop)
        rows, before = (sum(file.metadata.row_group(k).num_rows for k in some) for some in (groups, range(piece.start)))
        done = reported = 0
        # One group at a time: pyarrow keeps all groups of a request in memory.
        batches = (batch for k in groups for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[k], columns=[column]))
        for batch in batches:
            for row, text in enumerate(batch.column(0).to_pylist(), before + done + 1):
                if not isinstance(text, str | None):
                    raise DataError(f'{piece.path}, row {row}: has no string in column "{column}". Give every row one.')
                yield text or ""
            done += batch.num_rows
            progress(piece.bytes * done // rows - reported)
            reported = piece.bytes * done // rows
    progress(piece.bytes - reported)


def _parquet_file(path: Path) -> Any:
    return _optional("pyarrow.parquet", "parquet").ParquetFile(path)


def _optional(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise DataError(f"{module.split('.')[0]} is not installed: pip install 'lrps[{extra}]'") from None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise errors of reading a file as DataError with the file's name."""
    try:
        yield
    except EOFError:
        raise DataError(f"{path}: ends in the middle of its compressed data. Copy or download it again.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}). Copy or download it again.") from None
    except OSError as error:
        if error.strerror is None:  # pyarrow's, about the content of the file
            raise DataError(f"{path}: damaged ({error}). Copy or download it again.") from None
        raise DataError(f"{path}: cannot read this input ({error.strerror}). Correct its path in the config.") from None
    except ValueError as error:  # pyarrow's, and UnicodeDecodeError
        raise DataError(f"{path}: not a valid {suffix_of(path)} file ({error}). Copy or make it again.") from None


def _size(path: Path) -> int:
    with _reading(path), open(path, "rb") as file:
        return file.seek(0, io.SEEK_END)


def _text_of(line: bytes, key: str, where: str) -> str:
    try:
        record = json.loads(_decode(line, where))
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error}). Write one object per line.") from None
    except RecursionError:
        raise DataError(f"{where}: its JSON is nested too deeply. Write one flat object per line.") from None
    if not (isinstance(record, dict) and key in record and isinstance(record[key], str | None)):
        raise DataError(
            f'{where}: has no string under "{key}". Write one {{"{key}": ...}} per line, or set data.text_key.'
        )
    text = record[key] or ""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: its text has a lone surrogate, which is not a character. Repair it.") from None
    return text


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start}. Convert the file to UTF-8.") from None
