"""Input files as documents: text, JSON lines (plain, gzip, zstd) and parquet, cut into parts of bounded work.

Compressed files are streamed, parquet is read by batches and one column only, so memory does not grow with a file.
pyarrow and zstandard are optional and imported late. Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from lrps.errors import DataError

PART_BYTES = 64 * 10**6
SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
TEXT_KEY = "text"

CHUNK_BYTES = 2**16
ZSTD_WINDOW_BYTES = 2**31
"""What `zstd --long=31` may ask for; the library refuses above 2^27 by itself."""
ROWS_AT_ONCE = 256

Progress = Callable[[int], None]
"""Called with the bytes that were done since the last call."""


def unwatched(done_bytes: int) -> None:
    """The progress that nobody looks at."""


@dataclass(frozen=True)
class Part:
    """Some documents of one input file, in order.

    start: a byte of a .jsonl file, or a row group of a .parquet file; else 0. bytes: its share of the file.
    """

    path: Path
    start: int
    bytes: int

    @property
    def suffix(self) -> str:
        return suffix_of(self.path)

    def __str__(self) -> str:
        if self.suffix == ".parquet":
            return f"{self.path}, row group {self.start}"
        return f"{self.path} from byte {self.start:,}" if self.start else str(self.path)


def suffix_of(path: Path) -> str:
    """The suffix that says how to read the file; DataError for one that no reader knows."""
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        unknown = path.suffix or "a file without a suffix"
        raise DataError(f"{path}: cannot read {unknown}. Give {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} files.")
    return suffix


def parts_of(inputs: Sequence[Path], part_bytes: int = PART_BYTES) -> list[Part]:
    """Cut the inputs into parts, in order: a function of the inputs alone, whoever calls it and wherever.

    A .jsonl file is cut every `part_bytes` (a line belongs to the part that it starts in), a .parquet file by row
    group; any other file is one part. DataError for a file that is missing or of an unknown kind.
    """
    parts: list[Part] = []
    for path in inputs:
        suffix = suffix_of(path)
        size = _size(path)
        if suffix == ".parquet":
            parts += _row_groups(path)
        elif suffix == ".jsonl" and size:
            parts += [Part(path, start, min(part_bytes, size - start)) for start in range(0, size, part_bytes)]
        else:
            parts.append(Part(path, 0, size))
    return parts


def read_documents(part: Part, text_key: str = TEXT_KEY, progress: Progress = unwatched) -> Iterator[str]:
    """The texts of a part, in order, empty ones included. progress adds up to `part.bytes`.

    text_key: the key of a JSON line, or the column, that holds the text. DataError with the place of whatever cannot
    be read.
    """
    if part.suffix == ".txt":
        with _reading(part.path):
            data = part.path.read_bytes()
        progress(part.bytes)
        yield _decode(data, str(part.path))
    elif part.suffix == ".parquet":
        yield from _parquet_texts(part, text_key, progress)
    elif part.suffix == ".jsonl":
        for line, where in _lines_of_range(part, progress):
            yield _text_of(line, text_key, where)
    else:
        for line, where in _lines_of_stream(part, progress):
            yield _text_of(line, text_key, where)


def _lines_of_range(part: Part, progress: Progress) -> Iterator[tuple[bytes, str]]:
    """The lines that start in the part's bytes, without blank ones."""
    with _reading(part.path), open(part.path, "rb") as file:
        if part.start:
            # The rest of a line that starts before the part; nothing but its "\n" if one ends just there.
            file.seek(part.start - 1)
            file.readline()
        position, number = file.tell(), 0
        stop = part.start + part.bytes
        reported = part.start
        while position < stop and (line := file.readline()):
            # Only the first part knows the number of a line without reading what lies before.
            number += 1
            where = f"{part.path}, line at byte {position}" if part.start else f"{part.path}, line {number}"
            position += len(line)
            reported = _report(min(position, stop), reported, progress)
            if line.strip():
                yield line, where
    progress(stop - reported)


def _lines_of_stream(part: Part, progress: Progress) -> Iterator[tuple[bytes, str]]:
    """The lines of a compressed file, without blank ones."""
    with _reading(part.path), open(part.path, "rb") as file:
        reported = 0
        lines = gzip.GzipFile(fileobj=file) if part.suffix == ".jsonl.gz" else io.BufferedReader(_ZstdStream(file))
        if not part.bytes:
            raise EOFError
        for number, line in enumerate(lines, 1):
            reported = _report(min(file.tell(), part.bytes), reported, progress)
            if line.strip():
                yield line, f"{part.path}, line {number}"
    progress(part.bytes - reported)


def _report(position: int, reported: int, progress: Progress) -> int:
    """Tell progress of another chunk, if there is one; what was told so far."""
    if position - reported < CHUNK_BYTES:
        return reported
    progress(position - reported)
    return position


class _ZstdStream(io.RawIOBase):
    """A zstd file of one or more frames, decompressed. EOFError where it was cut off: the library is silent there."""

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


def _row_groups(path: Path) -> list[Part]:
    with _reading(path), _parquet_file(path) as file:
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    sizes = [sum(group.column(k).total_compressed_size for k in range(group.num_columns)) for group in groups]
    return [Part(path, number, size) for number, size in enumerate(sizes)]


def _parquet_texts(part: Part, column: str, progress: Progress) -> Iterator[str]:
    with _reading(part.path), _parquet_file(part.path) as file:
        if column not in (columns := file.schema_arrow.names):
            raise DataError(f'{part.path}: has no column "{column}", only {", ".join(columns)}. Name it: data.text_key')
        rows = file.metadata.row_group(part.start).num_rows
        before = sum(file.metadata.row_group(number).num_rows for number in range(part.start))
        done = reported = 0
        for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[part.start], columns=[column]):
            for row, text in enumerate(batch.column(0).to_pylist(), before + done + 1):
                if not isinstance(text, str):
                    raise DataError(f'{part.path}, row {row}: has no string in column "{column}". Give every row one.')
                yield text
            done += batch.num_rows
            progress(part.bytes * done // rows - reported)
            reported = part.bytes * done // rows
    progress(part.bytes - reported)


def _parquet_file(path: Path) -> Any:
    return _optional("pyarrow.parquet", "parquet").ParquetFile(path)


def _optional(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise DataError(f"{module.split('.')[0]} is not installed: pip install 'lrps[{extra}]'") from None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What goes wrong with a file as a whole, told with its name."""
    try:
        yield
    except EOFError:
        raise DataError(f"{path}: ends in the middle of its compressed data. Copy or download it again.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}). Copy or download it again.") from None
    except OSError as error:
        if error.strerror is None:  # pyarrow's, about what the file holds
            raise DataError(f"{path}: damaged ({error}). Copy or download it again.") from None
        raise DataError(f"{path}: cannot read this input ({error.strerror}). Correct its path in the config.") from None
    except ValueError as error:  # pyarrow's, and UnicodeDecodeError
        raise DataError(f"{path}: not a sound {suffix_of(path)} file ({error}). Copy or make it again.") from None


def _size(path: Path) -> int:
    with _reading(path), open(path, "rb") as file:
        return file.seek(0, io.SEEK_END)


def _text_of(line: bytes, key: str, where: str) -> str:
    try:
        record = json.loads(_decode(line, where))
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error}). Write one object a line.") from None
    text = record.get(key) if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise DataError(
            f'{where}: has no string under "{key}". Write one {{"{key}": ...}} a line, or name its key: data.text_key'
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: its text has half a surrogate pair, which is no character. Repair it.") from None
    return text


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start}. Convert the file to UTF-8.") from None
