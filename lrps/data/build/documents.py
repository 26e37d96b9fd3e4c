"""The documents of input files (text, JSON and parquet, plain or compressed), and parts of bounded size.

Compressed files are streamed, and of parquet one column is read in batches, so memory does not grow with the files.
Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrps.config.pair_template import PairTemplate
from lrps.config.text import Documents
from lrps.data.build.bad_document import BadDocument
from lrps.data.build.file_range import FileRange, Meter, Progress, file_size, no_progress
from lrps.data.build.json_reader import each_json, each_json_line
from lrps.data.build.kinds import Format, kind_of
from lrps.data.build.parquet_reader import each_row, row_groups
from lrps.data.build.text_reader import each_line, each_paragraph, whole_file

PART_BYTES = 64 * 10**6
TEXT_KEY = "text"
WHOLE_FILE: Documents = "file"


@dataclass(frozen=True)
class Reading:
    """How files become documents.

    text_key: the key of a JSON object, or the parquet column, with the text. documents: what ends a document of a .txt
    file. template: that of instruction pairs in JSON.
    """

    text_key: str = TEXT_KEY
    documents: Documents = WHOLE_FILE
    template: PairTemplate | None = None


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


def parts_of(
    inputs: Sequence[Path], part_bytes: int = PART_BYTES, documents: Documents = WHOLE_FILE
) -> list[InputPart]:
    """Cut the inputs into parts, in order. The result depends on the inputs only, not on the machine.

    A file of lines that is not compressed is cut every `part_bytes` (a line belongs to the part that it starts in), a
    .parquet file between row groups; any other file is one piece. Neighbouring pieces are joined up to `part_bytes`, to
    keep the number of token files low. documents: as in `Reading`. Raises DataError for a file that is missing or of an
    unknown kind.
    """
    pieces = (piece for path in inputs for piece in _pieces(path, part_bytes, documents))
    return [InputPart(tuple(run)) for run in _runs(pieces, part_bytes)]


def _pieces(path: Path, part_bytes: int, documents: Documents) -> list[FileRange]:
    kind = kind_of(str(path))
    size = file_size(path)
    if kind.format == "parquet":
        runs = _runs(row_groups(path), part_bytes)
        return [FileRange(path, run[0].start, run[-1].stop, sum(group.bytes for group in run)) for run in runs]
    has_lines = kind.format == "lines" or (kind.format == "text" and documents != WHOLE_FILE)
    if has_lines and not kind.compression and size:
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


_Reader = Callable[[FileRange, Meter, Reading], Iterator[str | BadDocument]]
_OF_TEXT = {"file": whole_file, "blank-line": each_paragraph, "line": each_line}
_READERS: dict[Format, _Reader] = {
    "text": lambda piece, meter, how: _OF_TEXT[how.documents](piece, meter),
    "lines": lambda piece, meter, how: each_json_line(piece, meter, how.text_key, how.template),
    "json": lambda piece, meter, how: each_json(piece, meter, how.text_key, how.template),
    "parquet": lambda piece, meter, how: each_row(piece, meter, how.text_key),
}


def read_documents(
    part: InputPart, how: Reading = Reading(), progress: Progress = no_progress
) -> Iterator[str | BadDocument]:
    """Yield the texts of a part in order, including empty ones, and the documents that cannot be read.

    The progress adds up to `part.bytes`. Raises DataError for a file that is damaged or cannot be read as a whole.
    """
    for piece in part.pieces:
        meter = Meter(progress, piece.bytes)
        yield from _READERS[piece.kind.format](piece, meter, how)
        meter.finish()
