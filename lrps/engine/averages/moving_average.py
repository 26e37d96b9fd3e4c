"""The exponential moving average of the weights: its rule as a value, and the two things that are done with tensors.

The average is a function of the states after the steps at which it is updated, so steps that pass without an update of
the weights count like all others. Every operation works element by element: the bits do not depend on the topology.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

EVERY = 10
"""Number of steps between two updates. Every step would cost more and, for long horizons, lose in fp32."""
SHORTEST = 10
"""Least number of steps that an average reaches back."""
_CHUNK = 2**20
"""Number of elements that are exchanged at a time."""


@dataclass(frozen=True)
class MovingAverage:
    """Rule of an average that reaches back a constant share of the steps so far.

    After step t, beta = 1 - 1 / max(10, horizon * t). For every step between two updates the average is multiplied by
    beta once, so an update gives the newest weights a weight of 1 - beta ** every.
    """

    horizon: float
    """Share of the steps so far."""
    every: int = EVERY
    """Number of steps between two updates."""

    def reach(self, step: int) -> float:
        """Return the number of steps that the average reaches back after `step` steps."""
        return max(SHORTEST, self.horizon * step)

    def weight(self, step: int) -> float | None:
        """Return the weight of the weights after `step` steps in the average; None if no update is due then."""
        return None if step % self.every else 1 - (1 - 1 / self.reach(step)) ** self.every

    def covers(self, since: int, step: int) -> bool:
        """Return True if an average that began at step `since` has reached its horizon by `step`."""
        return step - since >= self.reach(step)


Pairs = Iterable[tuple[Tensor, Tensor]]
"""Weights with their averages, as tensors of equal shapes."""


@torch.no_grad()
def update(pairs: Pairs, weight: float) -> None:
    """Move the averages towards the weights by the share `weight` of the distance."""
    for weights, average in pairs:
        average.lerp_(weights, weight)


@torch.no_grad()
def exchange(pairs: Pairs) -> None:
    """Exchange the values of weights and averages in place; a second call restores every bit.

    The memory stays where it is, because DeepSpeed has views of it; what is needed beside it is one chunk of 4 MB.
    """
    for weights, average in pairs:
        for one, other in zip(weights.view(-1).split(_CHUNK), average.view(-1).split(_CHUNK), strict=True):
            kept = one.clone()
            one.copy_(other)
            other.copy_(kept)
