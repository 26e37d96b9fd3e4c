"""What a plan knows of its data: the rows of every version, as numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Increment:
    """The new rows of one version. Only whole optimizer steps are trained: `steps` = T_k = floor(rows / batch)."""

    version: str
    rows: int
    steps: int

    def used(self, batch: int) -> int:
        """Rows that the steps take; the remainder is left over and reported."""
        return self.steps * batch


@dataclass(frozen=True)
class RehearsalSet:
    """Rows that are no version's increment: the mixes of version `since` and of later ones may read them."""

    name: str
    rows: int
    since: str
