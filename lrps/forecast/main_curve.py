"""Curve of the main path: M(t) = c0 + c1 t^-a, fitted to its losses on one held-out set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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
    usable = tuple(points_to_fit(points, warmup))
    if len(usable) < MIN_POINTS:
        raise ForecastRefused(
            "points",
            f"the main path has {len(usable)} held-out losses from which its curve can be fitted, {MIN_POINTS} are "
            "needed: points before step 1,000 and inside the warm-up do not count. Evaluate it more often "
            "(`evaluation.main_every_steps`), or its saved states now: `lrps evaluate CONFIG main --steps all`",
        )
    return _fit(usable)


@lru_cache(maxsize=1024)
def _fit(points: tuple[Point, ...]) -> MainCurve:
    """Return the curve through these points. Cached, because all possible branches of a version share it."""
    steps, losses = np.array(points, dtype=float).T
    best = min((_fit_exponent(steps, losses, a) for a in EXPONENTS), key=lambda found: found[0])
    _, limit, scale, exponent, rms = best
    return MainCurve(limit, scale, exponent, rms, float(steps[0]), float(steps[-1]))


def _fit_exponent(steps: np.ndarray, losses: np.ndarray, exponent: float) -> tuple[float, float, float, float, float]:
    """Return (cost, c0, c1, a, rms) of the least-squares fit with one exponent."""
    powers = steps**-exponent
    design = np.stack([np.ones_like(powers), powers], axis=1)
    (limit, scale), *_ = np.linalg.lstsq(design, losses, rcond=None)
    squares = float(np.sum((design @ (limit, scale) - losses) ** 2))
    prior = ((np.log(exponent) - np.log(PRIOR_EXPONENT)) / PRIOR_WIDTH) ** 2
    return squares / NOISE**2 + float(prior), float(limit), float(scale), float(exponent), (squares / len(steps)) ** 0.5
