"""Sizes of the data of a plan: the rows of every increment and rehearsal set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Increment:
    """The new rows of one version."""

    version: str
    """Name of the version."""
    rows: int
    """Number of rows."""
    steps: int
    """Number of whole optimizer steps: T_k = floor(rows / batch) in docs/method.md. Only these are trained."""

    def used(self, batch: int) -> int:
        """Return the number of rows that the steps read; the remainder is reported. batch: rows of a step."""
        return self.steps * batch


@dataclass(frozen=True)
class RehearsalSet:
    """Rows that belong to no increment, for the mixes of paths to read."""

    name: str
    """Name of the set."""
    rows: int
    """Number of rows."""
    since: str
    """First version whose mix may read the set."""
