"""Documents of parquet files: one column, read in batches.

pyarrow is optional and imported on first use. Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrps.base.errors import DataError
from lrps.data.build.bad_document import BadDocument
from lrps.data.build.file_range import FileRange, Meter, optional_module, reading

ROWS_AT_ONCE = 256


def row_groups(path: Path) -> Iterator[FileRange]:
    """Yield the row groups of a file."""
    with reading(path), _parquet_file(path) as file:
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            size = sum(group.column(k).total_compressed_size for k in range(group.num_columns))
            yield FileRange(path, number, number + 1, size)


def each_row(piece: FileRange, meter: Meter, column: str) -> Iterator[str | BadDocument]:
    """Yield the text in `column` of every row of the range; null is empty text. Raises DataError without the column."""
    with reading(piece.path), _parquet_file(piece.path) as file:
        if column not in (columns := file.schema_arrow.names):
            found = ", ".join(columns)
            raise DataError(f'{piece.path}: has no column "{column}", only {found}. Set data.text_key.')
        groups = range(piece.start, piece.stop)
        rows, before = (sum(file.metadata.row_group(k).num_rows for k in some) for some in (groups, range(piece.start)))
        done = 0
        # One group at a time: pyarrow keeps all groups of a request in memory.
        batches = (batch for k in groups for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[k], columns=[column]))
        for batch in batches:
            for row, value in enumerate(_values(batch.column(0)), before + done + 1):
                yield _text_of(value, column, f"{piece.path}, row {row}")
            done += batch.num_rows
            meter.reach(piece.bytes * done // rows)


def _values(column: Any) -> Iterator[Any]:
    try:
        yield from column.to_pylist()
    except UnicodeDecodeError:
        for value in column:
            try:
                yield value.as_py()
            except UnicodeDecodeError as error:
                yield error


def _text_of(value: Any, column: str, where: str) -> str | BadDocument:
    if isinstance(value, UnicodeDecodeError):
        return BadDocument("invalid-utf-8", where, f"not UTF-8 at byte {value.start}. Make the file again.")
    if not isinstance(value, str | None):
        return BadDocument("no-text", where, f'has no string in column "{column}". Give every row one.')
    return value or ""


def _parquet_file(path: Path) -> Any:
    return optional_module("pyarrow.parquet", "parquet").ParquetFile(path)
