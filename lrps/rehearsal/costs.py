"""What the stages of a set have cost so far, chunk by chunk, until it is booked in the run's own ledger.

A process that is killed loses the chunk it was in, and its time. Must not import torch.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.rehearsal.stage_file import StageFile


@dataclass(frozen=True)
class Costs:
    """A file of JSON lines: stage, key, seconds of one device, generated tokens."""

    path: Path

    def add(self, file: StageFile, seconds: float, tokens: int = 0) -> None:
        line = {"stage": file.stage, "key": file.key, "device_seconds": round(seconds, 3), "tokens": tokens}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")

    def booking(self, keys: Collection[str]) -> dict[str, Any]:
        """What the ledger says: device-seconds by stage, tokens generated, and what was spent on other settings.

        keys: of the stages that the set was made by.
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
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:  # Torn when its writer was killed; the next line may stand right behind it.
                continue
        return found
