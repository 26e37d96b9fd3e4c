"""The protocol of a tracker: a copy of one path's metrics and evaluations in another tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """One run of one tracker: a path, over all its attempts. Rank 0 only; everything may raise."""

    name: str

    def start(self, step: int, /) -> None:
        """An attempt begins at this step of the lineage; what was logged beyond it will be logged again."""

    def log(self, step: int, values: Mapping[str, float], /) -> None:
        """values: name -> number; `tokens` is among them."""

    def finish(self, exit_code: int, /) -> None:
        """The attempt is over; 0 unless something went wrong."""


@dataclass(frozen=True)
class TrackedPath:
    """What a run is known by."""

    plan: str
    path: str
    job: str
    directory: Path
    """Of the path; what belongs to all paths lies above it."""
    config: Mapping[str, Any]
    """JSON values: the resolved config, and under `lineage` where the path comes from."""
