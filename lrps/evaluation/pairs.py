"""Instruction pairs in a file: one JSON object a line, with `input` and `output`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.errors import DataError


@dataclass(frozen=True)
class Pair:
    """What a model is given, and what it should answer."""

    input: str
    output: str


def read_pairs(file: Path) -> tuple[Pair, ...]:
    """The pairs of a file, in order; empty lines are skipped, other keys too.

    Raises DataError with file and line for what is no pair, and for a file that cannot be read or has none.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {error}; give a .jsonl file in UTF-8 as `pairs`") from None
    pairs = tuple(_pair(line, f"{file}:{number}") for number, line in enumerate(lines, 1) if line.strip())
    if not pairs:
        raise DataError(f'{file}: holds no pair; give one object {{"input": .., "output": ..}} a line')
    return pairs


def _pair(line: str, where: str) -> Pair:
    try:
        values: Any = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: is no JSON ({error}); give one object a line") from None
    texts = [values.get(key) for key in ("input", "output")] if isinstance(values, dict) else []
    match [text for text in texts if isinstance(text, str) and text.strip()]:
        case [given, wanted]:
            return Pair(given, wanted)
    raise DataError(f"{where}: needs `input` and `output`, both texts that are not empty")
