"""Branch that was finished when a forecast was made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FinishedBranch:
    """Branch that was finished when a forecast was made."""

    version: str
    """Version that it releases."""
    path: str
    """Name of its path."""
    fork: int
    """Step of the main path at which it forks."""
    steps: int
    """Number of optimizer steps of the branch."""

    @property
    def stop(self) -> int:
        """Step at which the branch and the increment of its version end."""
        return self.fork + self.steps
