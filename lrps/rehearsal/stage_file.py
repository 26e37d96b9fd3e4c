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
from lrps.base.foreign_json import JsonError, bounded_lines, parse_json

_LONGEST_HEADER = 2**24


def key_of(settings: Mapping[str, Any]) -> str:
    """Return the key of a stage with these settings, which include the key of the stage before."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class StageFile:
    """The records of one stage, in order."""

    def __init__(self, directory: Path, stage: str, settings: Mapping[str, Any], share: str | None = None) -> None:
        """Name the file, without creating it. settings: all JSON values that the records depend on.

        share: name of the share whose chunks the file has, if not all.
        """
        self.stage, self.share = stage, share
        self.key = key_of({"stage": stage, **settings})
        self._settings = settings
        self.path = directory / (f"{stage}-{self.key[:16]}" + (f".{share}" if share else "") + ".jsonl")
        self._header = _line({"stage": stage, "key": self.key, "made_by": settings})

    def of_share(self, share: str) -> StageFile:
        """Return the file of a share of this stage, beside it."""
        return StageFile(self.path.parent, self.stage, self._settings, share)

    def shares(self) -> list[StageFile]:
        """Return the files of shares that exist beside this one, by name."""
        found = self.path.parent.glob(f"{self.path.stem}.*-of-*.jsonl")
        return [self.of_share(path.name.split(".")[1]) for path in sorted(found)]

    def adopt(self) -> None:
        """Take over the records of `best`, if they are those of another set."""
        if (best := self.best()) is not self:
            self.write(best.records())

    def best(self) -> StageFile:
        """Return the largest of the files of the same key, of this set and those beside it; this one of equal ones.

        All have the records that this set would get: sets that differ in later stages only share their generations.
        """
        best, size = self, self.path.stat().st_size if self.path.exists() else 0
        for other in sorted(self.path.parent.parent.glob(f"*/{self.path.name}")):
            if other != self.path and other.stat().st_size > size:
                best, size = StageFile(other.parent, self.stage, self._settings), other.stat().st_size
        return best

    def read(self) -> list[Any] | None:
        """Return the records of a file that is written at once, or None if it does not exist."""
        return self.records() if self.path.exists() else None

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
        records = self.records()
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

    def records(self) -> list[Any]:
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

    They are in files of JSON lines with stage, key, seconds of one device and generated tokens: costs.jsonl, and one
    for every share. A killed process loses the cost of its last chunk.
    """

    directory: Path

    @property
    def exist(self) -> bool:
        """Whether anything was spent."""
        return any(self.directory.glob("costs*.jsonl"))

    def add(self, file: StageFile, seconds: float, tokens: int = 0) -> None:
        """Append the cost of one chunk of a stage."""
        line = {"stage": file.stage, "key": file.key, "device_seconds": round(seconds, 3), "tokens": tokens}
        self.directory.mkdir(parents=True, exist_ok=True)
        name = "costs.jsonl" if file.share is None else f"costs.{file.share}.jsonl"
        with open(self.directory / name, "a", encoding="utf-8") as lines:
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
        found = []
        for path in sorted(self.directory.glob("costs*.jsonl")):
            with open(path, "rb", opener=regular_file) as lines:
                for line in bounded_lines(lines, str(path)):
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


def stage_settings(file: Path) -> Mapping[str, Any]:
    """Return the settings in the first line of a stage's file; empty for any other file."""
    try:
        with open(file, "rb", opener=regular_file) as lines:
            header = parse_json(lines.readline(_LONGEST_HEADER), str(file))
    except (OSError, JsonError):
        return {}
    settings = header.get("made_by")
    return settings if isinstance(settings, dict) else {}
