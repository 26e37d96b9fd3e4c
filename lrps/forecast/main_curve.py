"""Curve of the main path: M(t) = c0 + c1 t^-a, fitted to its losses on one held-out set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrps.forecast.refusal import ForecastRefused

MIN_POINTS = 8
"""Least number of points of a fit."""
MAX_POINTS = 150
"""Largest number of points that a fit uses, evenly spread."""
EXPONENTS = np.geomspace(0.15, 1.2, 60)
"""Exponents that the fit tries."""
NOISE = 0.002
"""Scale of the loss's noise in nats a token, against which the prior of the exponent is weighed."""
PRIOR_EXPONENT, PRIOR_WIDTH = 0.5, 0.25
"""Centre of the exponent's prior, and its standard deviation in the logarithm."""

Point = tuple[float, float]
"""Step of the main path and its held-out loss in nats a token."""


@dataclass(frozen=True)
class MainCurve:
    """Fitted loss of a main path over its steps."""

    limit: float
    """Loss after infinitely many steps (c0)."""
    scale: float
    """Coefficient of the power of the steps (c1)."""
    exponent: float
    """Exponent of the steps (a)."""
    rms: float
    """Root mean square of the points' distances from the curve, in nats a token."""
    first: float
    """Step of the first point of the fit."""
    known: float
    """Step of the last point of the fit."""

    def at(self, step: float) -> float:
        """Return the loss at a step."""
        return float(self.limit + self.scale * step**-self.exponent)


def points_to_fit(points: Sequence[Point], warmup: int = 0) -> list[Point]:
    """Return the points that a fit uses: after the warm-up and the early steps, at most MAX_POINTS, evenly spread.

    The early steps end at max(1000, min(2000, known / 4)), known being the last point's step.
    """
    ordered = sorted(points)
    if not ordered:
        return []
    start = max(1000, min(2000, ordered[-1][0] / 4), warmup)
    usable = [point for point in ordered if point[0] >= start and point[0] > warmup]
    if len(usable) <= MAX_POINTS:
        return usable
    return [usable[round(i)] for i in np.linspace(0, len(usable) - 1, MAX_POINTS)]


def fit_main_curve(points: Sequence[Point], warmup: int = 0) -> MainCurve:
    """Return the curve through the held-out losses of a main path.

    Every exponent of EXPONENTS is tried with the best limit and scale; the one with the least
    RSS / NOISE^2 + ((ln a - ln .5) / .25)^2 is taken. Raises ForecastRefused for too few points or a loss that is not
    finite.
    """
    bad = [step for step, loss in points if not np.isfinite(loss)]
    if bad:
        raise ForecastRefused(
            "not-finite",
            f"the main path's held-out loss is not finite at step {bad[0]:,.0f}; "
            "`lrps status` shows where it failed, and `lrps rewind` brings it back",
        )
    usable = points_to_fit(points, warmup)
    if len(usable) < MIN_POINTS:
        raise ForecastRefused(
            "points",
            f"the main path has {len(usable)} held-out losses from which its curve can be fitted, {MIN_POINTS} are "
            "needed: points before step 1,000 and inside the warm-up do not count. Evaluate it more often "
            "(`evaluation.main_every_steps`), or its saved states now: `lrps evaluate CONFIG main --steps all`",
        )
    return _fit(usable)


def _fit(points: Sequence[Point]) -> MainCurve:
    """Return the curve through these points: a line in t^-a for every exponent at once, of which the best is taken."""
    steps, losses = np.array(points, dtype=float).T
    powers = steps ** -EXPONENTS[:, None]
    means = powers.mean(axis=1)
    centred = powers - means[:, None]
    spread = np.sum(centred**2, axis=1)
    scales = np.divide(centred @ (losses - losses.mean()), spread, out=np.zeros_like(spread), where=spread > 0)
    limits = losses.mean() - scales * means
    squares = np.sum((limits[:, None] + scales[:, None] * powers - losses) ** 2, axis=1)
    best = int(np.argmin(squares / NOISE**2 + (np.log(EXPONENTS / PRIOR_EXPONENT) / PRIOR_WIDTH) ** 2))
    rms = float(squares[best] / len(steps)) ** 0.5
    ends = float(steps[0]), float(steps[-1])
    return MainCurve(float(limits[best]), float(scales[best]), float(EXPONENTS[best]), rms, *ends)
