"""The steps of a path whose metrics are still on the device, and the number of steps between two metrics syncs."""

from __future__ import annotations

_SECONDS_BETWEEN_SYNCS = 1.0
"""Longest time, in seconds, until a request to stop is noticed, unless one step takes longer."""


class PendingSteps:
    """The steps since the last metrics sync; the same steps on all ranks."""

    def __init__(self, every: int | None) -> None:
        """every: number of steps between two syncs; None derives it from the duration of steps."""
        self._every = every
        self._limit = every or 1
        self._steps: list[tuple[int, float]] = []
        self.began = 0.0
        """Start of the first of these steps, as `time.monotonic()`."""

    def begin(self, now: float) -> None:
        """Note that a step begins."""
        if not self._steps:
            self.began = now

    def add(self, step: int, lr: float) -> None:
        """Add the step that ended at lineage step `step`."""
        self._steps.append((step, lr))

    @property
    def sync_due(self) -> bool:
        """True, on all ranks at once, if the next sync is due."""
        return len(self._steps) >= self._limit

    def steps_until_sync(self, now: float) -> int:
        """Return how many steps this rank proposes between the sync that begins now and the one after it."""
        if self._every is not None:
            return self._every
        seconds = max((now - self.began) / len(self._steps), 1e-6)
        return max(1, int(_SECONDS_BETWEEN_SYNCS / seconds))

    def take(self, now: float, limit: int) -> list[tuple[int, float, float]]:
        """Remove the steps and return (step, learning rate, seconds) of each.

        limit: number of steps until the next sync, as the ranks agreed.
        """
        each = (now - self.began) / len(self._steps)
        taken = [(step, lr, each) for step, lr in self._steps]
        self._steps, self._limit = [], limit
        return taken
