"""The files of stages: the records of a stage as JSON lines after a header with its settings, and what stages cost.

A stage's file grows in chunks or is written at once. Its name contains a key of everything that its content depends on,
so it is never read with other settings. A killed process leaves whole chunks and at most an incomplete one, which is
dropped. Must not import torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.base.errors import GenerationError
from lrps.base.files import atomic_write_bytes, regular_file
from lrps.base.foreign_json import bounded_lines, parse_json


def key_of(settings: Mapping[str, Any]) -> str:
    """Return the key of a stage with these settings, which include the key of the stage before."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class StageFile:
    """The records of one stage, in order."""

    def __init__(self, directory: Path, stage: str, settings: Mapping[str, Any]) -> None:
        """Name the file, without creating it. settings: all JSON values that the records depend on."""
        self.stage = stage
        self.key = key_of({"stage": stage, **settings})
        self.path = directory / f"{stage}-{self.key[:16]}.jsonl"
        self._header = _line({"stage": stage, "key": self.key, "made_by": settings})

    def read(self) -> list[Any] | None:
        """Return the records of a file that is written at once, or None if it does not exist."""
        return self._records() if self.path.exists() else None

    def write(self, records: Sequence[Any]) -> None:
        """Write the file with all its records, atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(self.path, b"".join([self._header, *map(_line, records)]))

    def resume(self, chunk: int, total: int) -> list[Any]:
        """Return the saved records: all up to `total`, or else whole chunks of `chunk` records.

        Records of an incomplete chunk are cut off the file.
        """
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
        """Append a chunk after `resume` or `append`. It is on disk (fsync) when this returns."""
        with open(self.path, "ab") as file:
            file.write(b"".join(map(_line, records)))
            file.flush()
            os.fsync(file.fileno())

    def _records(self) -> list[Any]:
        """Return the complete lines after the first. Raises GenerationError for a file that was changed otherwise."""
        try:
            with open(self.path, "rb", opener=regular_file) as file:
                lines = bounded_lines(file, "the file")
                if next(lines, b"") != self._header:
                    raise ValueError("its header differs")
                records = [_record(line) for line in lines if line.endswith(b"\n")]
        except (OSError, ValueError) as error:
            raise GenerationError(
                f"{self.path} was changed ({error}); restore it, or move it away to make it again"
            ) from None
        return records


@dataclass(frozen=True)
class StageCosts:
    """The costs of a set's stages until they are booked in the run's own ledger.

    path: a file of JSON lines with stage, key, seconds of one device and generated tokens. A killed process loses the
    cost of its last chunk.
    """

    path: Path

    def add(self, file: StageFile, seconds: float, tokens: int = 0) -> None:
        """Append the cost of one chunk of a stage."""
        line = {"stage": file.stage, "key": file.key, "device_seconds": round(seconds, 3), "tokens": tokens}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")

    def ledger_facts(self, keys: Collection[str]) -> dict[str, Any]:
        """Return the facts of the ledger record: generated tokens, and device-seconds by stage.

        keys: of the stages that made the set. The seconds of other stages are summed as `abandoned_seconds`.
        """
        spent: dict[str, float] = {}
        tokens = 0
        for line in self._lines():
            tokens += line["tokens"]
            use = f"{line['stage'] if line['key'] in keys else 'abandoned'}_seconds"
            spent[use] = spent.get(use, 0.0) + line["device_seconds"]
        return {"tokens": tokens, **{use: round(seconds, 3) for use, seconds in spent.items()}}

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        found = []
        with open(self.path, "rb", opener=regular_file) as lines:
            for line in bounded_lines(lines, str(self.path)):
                # It may be incomplete, because its writer was killed; the next line may be appended to it.
                with suppress(ValueError):
                    found.append(parse_json(line, "a line"))
        return found


def _record(line: bytes) -> Any:
    record = parse_json(line, "a line", expected=object)
    if _line(record) != line:
        raise ValueError("a line is not as it was written")
    return record


def _line(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"
