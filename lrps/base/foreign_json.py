"""JSON that may come from anywhere: with a limit of its size and depth, and one error that names the file.

Imports the standard library and lrps.base only.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lrps.base.errors import DataError

LARGEST_BYTES = 2**26
"""Largest size of a JSON document, unless its reader allows more; parsed, it takes about ten times that."""
DEEPEST = 100
"""Largest number of lists and objects inside each other; recursive functions follow as deep as the values are."""


class JsonError(DataError, ValueError):
    """A JSON document that is damaged, too large, too deep or of another shape than its reader expects."""


def read_json(path: Path, *, expected: type = dict, largest: int = LARGEST_BYTES) -> Any:
    """Return the value of a JSON file.

    expected: type of the value. largest: limit of the file's bytes. Raises OSError if the file cannot be read, and
    JsonError, which names the file, if it is no such JSON.
    """
    with open(path, "rb", opener=_open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise JsonError(f"{path}: is no regular file; copy it again")
        return parse_json(file.read(largest + 1), str(path), expected=expected, largest=largest)


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # A named pipe would wait for somebody who writes into it.


def parse_json(
    content: bytes | str, where: str, *, expected: type | tuple[type, ...] = dict, largest: int = LARGEST_BYTES
) -> Any:
    """Return the value of a JSON document. Raises JsonError that begins with `where`, see `read_json`."""
    if len(content) > largest:
        raise JsonError(f"{where}: more than {largest:,} bytes, the most that is read; copy it again")
    try:
        value = json.loads(content)
        _check_characters(content, value)
    except RecursionError:
        raise JsonError(f"{where}: {_TOO_DEEP}") from None
    except ValueError as error:
        raise JsonError(f"{where}: not JSON ({error}); copy it again") from None
    if _depth_exceeds(value, DEEPEST):
        raise JsonError(f"{where}: {_TOO_DEEP}")
    if not isinstance(value, expected):
        raise JsonError(f"{where}: holds {_NAMES.get(type(value), 'another value')} at its top; copy it again")
    return value


def bounded_lines(file: BinaryIO, where: str, largest: int = LARGEST_BYTES) -> Iterator[bytes]:
    """Yield the lines of a file, each with its line feed. Raises JsonError at a line of more than `largest` bytes."""
    number = 0
    while line := file.readline(largest + 1):
        number += 1
        if len(line) > largest:
            raise JsonError(f"{where}:{number}: a line of more than {largest:,} bytes; copy the file again")
        yield line


_TOO_DEEP = f"more than {DEEPEST} lists and objects inside each other; copy it again"
_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}


def _check_characters(content: bytes | str, value: Any) -> None:
    """Raise ValueError for half a surrogate pair, which JSON can escape and no file can be written with."""
    escape: Any = b"\\ud" if isinstance(content, bytes) else "\\ud"
    if escape in content.lower():
        try:
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
