"""The protocol of a tracker: a copy of one path's metrics and evaluations in another tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """A path as one run of one tracker, over all its attempts. Used on rank 0 only; every method may raise."""

    name: str

    def start(self, step: int, /) -> None:
        """Begin an attempt at this step of the lineage. Values logged beyond it will be logged again."""

    def log(self, step: int, values: Mapping[str, float], /) -> None:
        """Log values at a step of the lineage. values: name -> number; `tokens` is one of the names."""

    def finish(self, exit_code: int, ledger_sha256: str, /) -> None:
        """End the attempt. exit_code: 0 unless it failed.

        ledger_sha256: hash of the ledger's last line. Kept outside the run, it proves later that the ledger is the one
        that was written.
        """


@dataclass(frozen=True)
class TrackedPath:
    """The description of a path for a tracker."""

    plan: str
    """Name of the plan."""
    group: str
    """Name of the plan with the mark of its run, which the runs of all its paths have in common."""
    path: str
    """Name of the path."""
    mark: str | None
    """Mark of the path, which a new path of the same name does not have; None if it was begun without one."""
    job: str
    """Kind of the path."""
    start: int
    """Lineage step that the path starts at."""
    tags: tuple[str, ...]
    """Paradigms that the path belongs to, and versions that it releases."""
    directory: Path
    """Directory of the path; its parent is the run directory."""
    config: Mapping[str, Any]
    """Resolved config as JSON values, with the origin of the path under `lineage`."""
