"""Statistics of paired differences over seeds: t-intervals, two one-sided tests, and claims in fixed words.

A difference is paired: both losses come from runs of the same seed, so that what a seed does to both cancels out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
"""Of the intervals. Two one-sided tests at (1 - CONFIDENCE) are an interval of 2 x CONFIDENCE - 1."""
MOST_SEEDS = 1000
"""Largest number of seeds that a claim names."""


def t_share(t: float, degrees: int) -> float:
    """Return the probability that Student's t with `degrees` degrees of freedom is between -t and t, for t >= 0.

    Finite sums for whole degrees of freedom: Abramowitz and Stegun, equations 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(degrees))
    square, odd = math.cos(angle) ** 2, degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(1 + odd, degrees, 2):
        total += term
        term *= square * k / (k + 1)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def t_quantile(confidence: float, degrees: int) -> float:
    """Return the t for which `t_share` is `confidence`, which is between 0 and 1."""
    high = 1.0
    while t_share(high, degrees) < confidence:
        high *= 2
    low = 0.0
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_share(middle, degrees) < confidence else (low, middle)
    return high


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation; None of fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True)
class Paired:
    """Paired differences, one for each seed: loss of a paradigm less that of the reference, nats a token."""

    values: tuple[float, ...]
    """At least one difference."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        return deviation(self.values)

    def half_width(self, confidence: float = CONFIDENCE) -> float | None:
        """Return the distance from the mean to each end of its t-interval; None of fewer than two differences."""
        n, spread = len(self.values), self.deviation
        return None if spread is None else t_quantile(confidence, n - 1) * spread / math.sqrt(n)

    @property
    def same_sign(self) -> int:
        """Number of differences on the commoner side of 0."""
        return max(sum(value > 0 for value in self.values), sum(value < 0 for value in self.values))

    @property
    def is_shown(self) -> bool:
        """True if the t-interval does not contain 0."""
        half = self.half_width()
        return half is not None and abs(self.mean) > half

    def is_equal_within(self, margin: float) -> bool:
        """Return whether two one-sided tests reject a difference of `margin` or more, in nats a token."""
        half = self.half_width(2 * CONFIDENCE - 1)
        return half is not None and abs(self.mean) + half < margin

    def claim(self, margin: float, share: float) -> str:
        """Return what the differences show, in fixed words. margin: nats a token; share: the same of the loss."""
        found = []
        if self.is_shown:
            found.append(f"{'worse' if self.mean > 0 else 'better'}: shown")
        if self.is_equal_within(margin):
            found.append(f"equal within {100 * share:g} %")
        return "; ".join(found) or f"not shown, needs {self._needed(margin)}"

    def _needed(self, margin: float) -> str:
        """Return about how many seeds would show one or the other, if mean and deviation stay what they are."""
        spread = self.deviation
        if spread is None:
            return "more than one seed"
        bounds = ((abs(self.mean), CONFIDENCE), (margin - abs(self.mean), 2 * CONFIDENCE - 1))
        needed = [seeds_needed(spread, bound, confidence) for bound, confidence in bounds]
        fewest = min((number for number in needed if number is not None), default=None)
        return f"more than {MOST_SEEDS:,} seeds" if fewest is None else f"about {fewest} seeds"


def seeds_needed(spread: float, bound: float, confidence: float) -> int | None:
    """Return the smallest number of seeds, 2 or more, whose interval is narrower than `bound` on each side.

    spread: standard deviation of one difference. None if that are more than MOST_SEEDS.
    """
    if bound <= 0:
        return None
    normal = statistics.NormalDist().inv_cdf((1 + confidence) / 2) * spread / bound
    first = max(2, math.floor(min(normal, MOST_SEEDS) ** 2))  # A t-interval is wider than a normal one.
    fitting = (n for n in range(first, MOST_SEEDS + 1) if t_quantile(confidence, n - 1) * spread / math.sqrt(n) < bound)
    return next(fitting, None)
