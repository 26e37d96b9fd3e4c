"""JSON that may come from anywhere: with a limit of its size and depth, and one error that names the file.

Imports the standard library and lrps.base only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lrps.base.errors import DataError
from lrps.base.files import NotRegularError, regular_file

LARGEST_BYTES = 2**26
"""Largest size of a JSON document, unless its reader allows more; parsed, it takes about ten times that."""
DEEPEST = 100
"""Largest number of lists and objects inside each other; recursive functions follow as deep as the values are."""
_PIECE = 2**20
COPY_AGAIN = "copy it again"
"""How to fix a file that another program has made."""


class JsonError(DataError, ValueError):
    """A JSON document that is damaged, too large, too deep or of another shape than its reader expects."""


def read_json(
    path: Path,
    *,
    expected: type | tuple[type, ...] = dict,
    largest: int = LARGEST_BYTES,
    advice: str = COPY_AGAIN,
) -> Any:
    """Return the value of a JSON file.

    expected: type of the value. largest: limit of the file's bytes. advice: how to fix it. Raises OSError if the file
    cannot be read, and JsonError, which names the file, if it is no such JSON.
    """
    content = read_bounded(path, largest, advice)
    return parse_json(content, str(path), expected=expected, largest=largest, advice=advice)


def read_bounded(path: Path, largest: int = LARGEST_BYTES, advice: str = COPY_AGAIN) -> bytes:
    """Return the content of a regular file of at most `largest` bytes. Raises OSError, or JsonError as `read_json`."""
    content = bytearray()
    try:
        with open(path, "rb", opener=regular_file) as file:
            # In pieces, because `read` would allocate the limit at once.
            while piece := file.read(min(_PIECE, largest + 1 - len(content))):
                content += piece
    except NotRegularError as error:
        raise JsonError(f"{path}: {error.strerror}; {advice}") from None
    if len(content) > largest:
        raise JsonError(_too_large(str(path), largest, advice))
    return bytes(content)


def _too_large(where: str, largest: int, advice: str) -> str:
    return f"{where}: more than {largest:,} bytes, the most that is read; {advice}"


def parse_json(
    content: bytes | str,
    where: str,
    *,
    expected: type | tuple[type, ...] = dict,
    largest: int = LARGEST_BYTES,
    file_names: bool = False,
    advice: str = COPY_AGAIN,
) -> Any:
    """Return the value of a JSON document. Raises JsonError that begins with `where`, see `read_json`.

    file_names: allow the half surrogate pairs by which Python writes names of files that are not UTF-8.
    """
    if len(content) > largest:
        raise JsonError(_too_large(where, largest, advice))
    try:
        # json.loads itself would let half surrogate pairs through.
        text = content.decode(json.detect_encoding(content)) if isinstance(content, bytes) else content
        value = json.loads(text)
        if not file_names:
            _check_characters(text, value)
    except RecursionError:
        raise JsonError(f"{where}: {_TOO_DEEP}; {advice}") from None
    except ValueError as error:
        raise JsonError(f"{where}: not JSON ({error}); {advice}") from None
    if _depth_exceeds(value, DEEPEST):
        raise JsonError(f"{where}: {_TOO_DEEP}; {advice}")
    if not isinstance(value, expected):
        raise JsonError(f"{where}: holds {_NAMES.get(type(value), 'another value')} at its top; {advice}")
    return value


def through_json(value: Any, *, default: Callable[[Any], Any] | None = None, finite: bool = False) -> Any:
    """Return a value as it would be read from the JSON that it is written as: tuples become lists, keys strings.

    default: function for values of other types, as for json.dumps. finite: raise ValueError for other numbers.
    """
    return json.loads(json.dumps(value, default=default, allow_nan=not finite))


def bounded_lines(file: BinaryIO, where: str, largest: int = LARGEST_BYTES) -> Iterator[bytes]:
    """Yield the lines of a file, each with its line feed. Raises JsonError at a line of more than `largest` bytes."""
    number = 0
    while line := file.readline(largest + 1):
        number += 1
        if len(line) > largest:
            raise JsonError(f"{where}:{number}: a line of more than {largest:,} bytes; copy the file again")
        yield line


_TOO_DEEP = f"more than {DEEPEST} lists and objects inside each other"
_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}


def _check_characters(text: str, value: Any) -> None:
    """Raise ValueError for half a surrogate pair, which JSON can escape and no file can be written with."""
    try:
        text.encode()
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair") from None


def _depth_exceeds(value: Any, limit: int) -> bool:
    """Return True if lists and objects are nested more than `limit` deep."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for each in level
            if isinstance(each, (dict, list))
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
