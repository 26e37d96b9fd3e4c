"""The steps of a path whose metrics are still on the device, and the number of steps between two metrics syncs."""

from __future__ import annotations

from typing import NamedTuple

from lrps.train.watches.spike_guard import StepNote

_SECONDS_BETWEEN_SYNCS = 1.0
"""Longest time, in seconds, until a request to stop is noticed, unless one step takes longer."""


class PendingStep(NamedTuple):
    """A step that was taken, or several in a row for which nothing was computed."""

    first: int
    """Number of the (first) step: it leads from the state of this lineage step to the next one."""
    step: int
    """Lineage step of the state after it."""
    lr: float
    note: StepNote | None
    """Note of the step, with what is known before its metrics are synced."""

    @property
    def computed(self) -> bool:
        """True if loss and gradients were computed, so that a sync returns a result."""
        return self.note is None or self.note.computed


class PendingSteps:
    """The steps since the last metrics sync; the same steps on all ranks."""

    def __init__(self, every: int | None) -> None:
        """every: number of steps between two syncs; None derives it from the duration of steps."""
        self._every = every
        self._limit = every or 1
        self._steps: list[PendingStep] = []
        self._computed = 0
        self.began = 0.0
        """Start of the first of these steps, as `time.monotonic()`."""

    def begin(self, now: float) -> None:
        """Note that a step begins."""
        if not self._steps:
            self.began = now

    def add(self, step: int, lr: float, note: StepNote | None = None) -> None:
        """Add the step that ended at lineage step `step`."""
        first = step - 1
        if note is not None and not note.computed and self._steps and self._steps[-1].note == note:
            first = self._steps.pop().first
        self._steps.append(PendingStep(first, step, lr, note))
        self._computed += self._steps[-1].computed

    @property
    def sync_due(self) -> bool:
        """True, on all ranks at once, if the next sync is due."""
        return self._computed >= self._limit

    def steps_until_sync(self, now: float) -> int:
        """Return how many steps this rank proposes between the sync that begins now and the one after it."""
        if self._every is not None:
            return self._every
        if not self._computed:
            return self._limit
        seconds = max((now - self.began) / self._computed, 1e-6)
        return max(1, int(_SECONDS_BETWEEN_SYNCS / seconds))

    def take(self, now: float, limit: int) -> list[tuple[PendingStep, float]]:
        """Remove the steps and return each with its seconds, which are divided among those that were computed.

        limit: number of steps until the next sync, as the ranks agreed.
        """
        seconds = now - self.began
        if self._computed:
            taken = [(step, seconds / self._computed if step.computed else 0.0) for step in self._steps]
        else:  # At most one, of several steps for which nothing was computed.
            taken = [(step, seconds) for step in self._steps]
        self._steps, self._computed, self._limit = [], 0, limit
        return taken
