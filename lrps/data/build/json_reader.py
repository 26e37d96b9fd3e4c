"""Documents of JSON files: one object per line, or the elements of one array, which is parsed in bounded memory.

Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from lrps.base.errors import DataError
from lrps.config.pair_template import PairTemplate, PairText
from lrps.data.build.bad_document import BadDocument
from lrps.data.build.decompress import decompressed
from lrps.data.build.file_range import FileRange, Meter, no_progress, reading
from lrps.data.build.lines import decode, lines_within

PIECE_CHARACTERS = 2**20
"""Number of characters of an array that are read at a time."""
_BLANK = " \t\n\r"
_PAIR = {"input", "output"}
"""Keys of an object that is an instruction pair."""
_CUT_OFF = 16
"""Characters before the end of what was read in which a fault may be a value that is cut off."""


def each_json_line(
    piece: FileRange, meter: Meter, key: str, template: PairTemplate | None = None
) -> Iterator[str | BadDocument]:
    """Yield the text under `key` of every line that starts in the range; null is empty text.

    template: that of pairs, by which an object with `input` and `output`, and without `key`, becomes text.
    """
    for line in lines_within(piece, meter):
        text = decode(line.data, line.where)
        yield _parsed(text, key, line.where, template) if isinstance(text, str) else text


def each_json(
    piece: FileRange, meter: Meter, key: str, template: PairTemplate | None = None
) -> Iterator[str | BadDocument]:
    """Yield the text under `key` of every element of the file's array, or of every line if the file is no array.

    template: as in `each_json_line`. Raises DataError for an array that is not JSON: what follows the fault cannot be
    found.
    """
    with reading(piece.path), open(piece.path, "rb") as file:
        stream = decompressed(file, piece.kind.compression)
        if not _is_array(stream):
            yield from each_json_line(piece, meter, key, template)
            return
    with reading(piece.path), open(piece.path, "rb") as file:
        for number, element in enumerate(_elements(file, piece), 1):
            meter.reach(file.tell())
            yield _text_of(element, key, f"{piece.path}, element {number}", template)


def first_object(piece: FileRange) -> dict[str, Any]:
    """Return the first object of a file of lines or of an array; empty if the file does not begin with one."""
    meter = Meter(no_progress, piece.bytes)
    with reading(piece.path), open(piece.path, "rb") as file:
        is_array = _is_array(decompressed(file, piece.kind.compression))
    with reading(piece.path), open(piece.path, "rb") as file:
        lines = (line.data for line in lines_within(piece, meter))
        try:
            first = next(_elements(file, piece) if is_array else map(json.loads, lines), None)
        except (DataError, ValueError, RecursionError):  # The build says what is wrong with it.
            first = None
    return first if isinstance(first, dict) else {}


def _is_array(stream: BinaryIO) -> bool:
    first = b""
    while not first and (data := stream.read(2**10)):
        first = data.removeprefix(codecs.BOM_UTF8).lstrip()
    return first.startswith(b"[")


def _elements(file: BinaryIO, piece: FileRange) -> Iterator[Any]:
    stream = io.TextIOWrapper(decompressed(file, piece.kind.compression), "utf-8-sig", newline="")
    buffer = _Buffer(stream)
    try:
        buffer.skip("[")
        if buffer.next_character() == "]":
            buffer.skip("]")
        else:
            yield buffer.value()
            while buffer.next_character() == ",":
                buffer.skip(",")
                yield buffer.value()
            buffer.skip("]")
        if buffer.next_character():
            raise ValueError("more follows after the end of the array")
    except UnicodeDecodeError:
        raise DataError(f"{piece.path}: its array is not UTF-8. Convert the file to UTF-8.") from None
    except RecursionError:
        raise DataError(f"{piece.path}: its JSON is nested too deeply. Write one flat object per line.") from None
    except ValueError as error:
        at = f"character {buffer.position:,}"
        raise DataError(
            f"{piece.path}: not JSON from {at} on ({error}), and what follows in an array cannot be read. "
            "Repair it, or write one object per line."
        ) from None


class _Buffer:
    """The part of a JSON text that is being parsed."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self._text, self._at = "", 0
        self._dropped = 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    @property
    def position(self) -> int:
        """Number of characters before the value that is parsed next."""
        return self._dropped + self._at

    def next_character(self) -> str:
        """Return the next character that is not blank, without consuming it; empty at the end."""
        while True:
            while self._at < len(self._text):
                if (character := self._text[self._at]) not in _BLANK:
                    return character
                self._at += 1
            if not self._read_more():
                return ""

    def skip(self, wanted: str) -> None:
        """Consume a character. Raises ValueError if another one is next."""
        if (found := self.next_character()) != wanted:
            raise ValueError(f"{wanted!r} expected, {repr(found) if found else 'the end'} found")
        self._at += 1

    def value(self) -> Any:
        """Consume and return the next value. Raises ValueError if it is not JSON."""
        self.next_character()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._read_more():  # A number may continue behind the buffer.
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                cut_off = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _CUT_OFF
                if not (cut_off and self._read_more()):
                    raise ValueError(error.msg) from None

    def _read_more(self) -> bool:
        """Append text to the buffer, at least as much as is in it; return False at the end of the stream."""
        self._dropped += self._at
        self._text, self._at = self._text[self._at :], 0
        more = "" if self._ended else self._stream.read(max(PIECE_CHARACTERS, len(self._text)))
        self._ended = not more
        self._text += more
        return bool(more)


def _parsed(text: str, key: str, where: str, template: PairTemplate | None) -> str | BadDocument:
    try:
        return _text_of(json.loads(text), key, where, template)
    except ValueError as error:
        return BadDocument("broken-json", where, f"not JSON ({error}). Write one object per line.")
    except RecursionError:
        return BadDocument("broken-json", where, "its JSON is nested too deeply. Write one flat object per line.")


def _text_of(record: Any, key: str, where: str, template: PairTemplate | None) -> str | BadDocument:
    if template is not None and isinstance(record, dict) and key not in record and record.keys() >= _PAIR:
        record = {key: _text_of_pair(record, template)}
        if record[key] is None:
            problem = "is no pair: its input and output are texts that are not empty, and no mark of data.template is "
            return BadDocument("no-pair", where, problem + f"in its texts ({' and '.join(map(repr, template.marks))}).")
    if not (isinstance(record, dict) and key in record and isinstance(record[key], str | None)):
        problem = f'has no string under "{key}". Write one {{"{key}": ...}} per line, or set data.text_key.'
        return BadDocument("no-text", where, problem)
    text = record[key] or ""
    try:
        text.encode()
    except UnicodeEncodeError:
        problem = "its text has a lone surrogate, which is not a character. Repair it."
        return BadDocument("lone-surrogate", where, problem)
    return text


def _text_of_pair(record: dict[str, Any], template: PairTemplate) -> str | None:
    """Return the text of a pair; None if it is none, or could not be read from its text again."""
    texts = (record["input"], record["output"], record.get("task") or "")
    if not all(isinstance(text, str) for text in texts):
        return None
    pair = PairText(*(text.strip() for text in texts))
    document = template.document(pair)
    known = pair if template.after_task is not None else pair._replace(task="")
    return document if template.read(document) == known else None
