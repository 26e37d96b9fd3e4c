"""The file of a stage: JSON lines, the first of which says what made it. It grows in chunks, or is written whole.

A file's name holds the key of everything that its content depends on, so other settings never find it. A process that
is killed leaves whole chunks and at most a torn one, which is dropped. Must not import torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrps.base.errors import GenerationError
from lrps.base.files import atomic_write_bytes


def key_of(settings: Mapping[str, Any]) -> str:
    """The key of what is made with these settings; those of an earlier stage among them by its key."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class StageFile:
    """The records of one stage, in order."""

    def __init__(self, directory: Path, stage: str, settings: Mapping[str, Any]) -> None:
        """settings: JSON values, all that the records depend on."""
        self.stage = stage
        self.key = key_of({"stage": stage, **settings})
        self.path = directory / f"{stage}-{self.key[:16]}.jsonl"
        self._header = _line({"stage": stage, "key": self.key, "made_by": settings})

    def whole(self) -> list[Any] | None:
        """The records of a file that is written whole, None if there is none."""
        return self._records() if self.path.exists() else None

    def write(self, records: Sequence[Any]) -> None:
        """Write the file as a whole, or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(self.path, b"".join([self._header, *map(_line, records)]))

    def resume(self, chunk: int, total: int) -> list[Any]:
        """The records that are there, in whole chunks of `chunk` or up to `total`; what is torn is cut off the file."""
        if not self.path.exists():
            self.write(())
            return []
        records = self._records()
        if len(records) >= total:
            return records[:total]
        kept = records[: len(records) // chunk * chunk]
        size = len(self._header) + sum(len(_line(record)) for record in kept)
        if self.path.stat().st_size > size:
            os.truncate(self.path, size)
        return kept

    def append(self, records: Sequence[Any]) -> None:
        """Add a chunk after what `resume` or `append` left. Durable when it returns."""
        with open(self.path, "ab") as file:
            file.write(b"".join(map(_line, records)))
            file.flush()
            os.fsync(file.fileno())

    def _records(self) -> list[Any]:
        """All whole lines after the first. GenerationError for a file that something else wrote to."""
        header, *lines = self.path.read_bytes().split(b"\n")
        lines = lines[:-1]  # Empty, or a line without its end.
        try:
            if header + b"\n" != self._header:
                raise ValueError("another header")
            records = [json.loads(line) for line in lines]
            if any(_line(record) != line + b"\n" for record, line in zip(records, lines, strict=True)):
                raise ValueError("a line that was not written so")
        except ValueError as error:
            raise GenerationError(f"{self.path} was changed ({error}); remove it, and it is made again") from None
        return records


def _line(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"
