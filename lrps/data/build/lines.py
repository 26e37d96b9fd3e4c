"""Lines of a range of a file, plain or compressed, and the text of a line.

Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import NamedTuple

from lrps.data.build.bad_document import BadDocument
from lrps.data.build.decompress import decompressed
from lrps.data.build.file_range import FileRange, Meter, reading

_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""Byte order marks of other encodings -> their names; the mark of UTF-16 begins that of UTF-32, so it comes later."""


class Line(NamedTuple):
    """A line. start: its first byte in the file, 0 in a compressed one. where: its location for messages."""

    start: int
    data: bytes
    where: str

    @property
    def is_blank(self) -> bool:
        return not self.data.strip()


def lines_from(piece: FileRange, meter: Meter) -> Iterator[Line]:
    """Yield the lines that start in the range, then those after it, without byte order marks before them.

    A compressed file has one range, in which all lines start.
    """
    compression = piece.kind.compression
    with reading(piece.path), open(piece.path, "rb") as file:
        if piece.start:
            # Skip the rest of a line that starts before the range; only its "\n" if the line ends there.
            file.seek(piece.start - 1)
            file.readline()
        position = file.tell()
        for number, line in enumerate(decompressed(file, compression), 1):
            # In later ranges the number of a line is unknown without reading the earlier ones.
            where = f"{piece.path}, line at byte {position}" if piece.start else f"{piece.path}, line {number}"
            start = position
            if compression is None:
                position += len(line)
                meter.reach(position - piece.start)
            else:
                meter.reach(file.tell())
            yield Line(start, line.removeprefix(codecs.BOM_UTF8), where)


def lines_within(piece: FileRange, meter: Meter) -> Iterator[Line]:
    """Yield the lines that start in the range, without blank ones."""
    for line in lines_from(piece, meter):
        if line.start >= piece.stop:
            return
        if not line.is_blank:
            yield line


def decode(data: bytes, where: str) -> str | BadDocument:
    """Return UTF-8 as text."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        marked = next((name for mark, name in _OTHER_MARKS.items() if data.startswith(mark)), None)
        of_file = f"its first bytes are those of {marked}, " if marked else ""
        convert = f"Convert the file to UTF-8: iconv -f {marked or 'ENCODING'} -t UTF-8 FILE > NEW."
        problem = f"{of_file}not UTF-8 at byte {error.start}. {convert}"
        return BadDocument("invalid-utf-8", where, problem)
