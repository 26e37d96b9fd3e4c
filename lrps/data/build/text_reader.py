"""Documents of .txt files: the whole file, paragraphs between blank lines, or lines.

Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from lrps.data.build.bad_document import BadDocument
from lrps.data.build.decompress import decompressed
from lrps.data.build.file_range import FileRange, Meter, reading
from lrps.data.build.lines import decode, lines_from, lines_within


def whole_file(piece: FileRange, _meter: Meter) -> Iterator[str | BadDocument]:
    """Yield the content of the file as one document."""
    with reading(piece.path), open(piece.path, "rb") as file:
        data = decompressed(file, piece.kind.compression).read()
    yield decode(data.removeprefix(codecs.BOM_UTF8), str(piece.path))


def each_line(piece: FileRange, meter: Meter) -> Iterator[str | BadDocument]:
    """Yield every line that starts in the range, without its end; blank lines are no documents."""
    for line in lines_within(piece, meter):
        yield decode(line.data.rstrip(b"\r\n"), line.where)


def each_paragraph(piece: FileRange, meter: Meter) -> Iterator[str | BadDocument]:
    """Yield every paragraph that belongs to the range: lines without a blank one between them.

    A paragraph belongs to the range in which the blank line before it starts, the first one to the first range.
    """
    paragraph: list[bytes] = []
    where, ours = "", not piece.start
    for line in lines_from(piece, meter):
        if line.is_blank:
            if paragraph:
                yield decode(b"".join(paragraph).rstrip(b"\r\n"), where)
                paragraph = []
            ours = line.start < piece.stop
        elif ours:
            where = where if paragraph else line.where
            paragraph.append(line.data)
        if not ours and line.start >= piece.stop:
            return
    if paragraph:
        yield decode(b"".join(paragraph).rstrip(b"\r\n"), where)
