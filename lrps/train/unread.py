"""The steps of a path that are taken and not read yet, and how many of them there may be."""

from __future__ import annotations

_BETWEEN_READINGS_SECONDS = 1.0
"""A request to stop is heard this late, or after one step."""


class UnreadSteps:
    """What the trainer knows of steps whose losses still lie on the device. All ranks hold the same steps."""

    def __init__(self, every: int | None) -> None:
        """every: steps of a reading; None lets the clock say."""
        self._every = every
        self._allowed = every or 1
        self._steps: list[tuple[int, float]] = []
        self.began = 0.0
        """When the first of them began, as `time.monotonic()`."""

    def begin(self, now: float) -> None:
        """A step begins."""
        if not self._steps:
            self.began = now

    def add(self, step: int, lr: float) -> None:
        """The step before lineage step `step` is taken."""
        self._steps.append((step, lr))

    @property
    def enough(self) -> bool:
        """True, on all ranks at once, if it is time to read."""
        return len(self._steps) >= self._allowed

    def patience(self, now: float) -> int:
        """Steps that this rank would take until the reading after this one."""
        if self._every is not None:
            return self._every
        seconds = max((now - self.began) / len(self._steps), 1e-6)
        return max(1, int(_BETWEEN_READINGS_SECONDS / seconds))

    def take(self, now: float, allowed: int) -> list[tuple[int, float, float]]:
        """(step, learning rate, seconds) of each: read, and no longer held. allowed: what the ranks agreed on."""
        each = (now - self.began) / len(self._steps)
        taken = [(step, lr, each) for step, lr in self._steps]
        self._steps, self._allowed = [], allowed
        return taken
