"""Width of the band from a run's own errors: finished branches, forecast from what was known when they began."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from lrps.forecast.branch import Branch
from lrps.forecast.gain import gain_constant
from lrps.forecast.main_curve import Point, fit_main_curve
from lrps.forecast.refusal import ForecastRefused
from lrps.forecast.tested_range import check_range

OWN_BRANCHES = 8
"""Number of finished branches from which on the band is that of their errors."""
LEAST_ERRORS = OWN_BRANCHES - 1
"""Least number of errors: the first branch has no earlier one that it could be forecast from."""
QUANTILE = 0.9


def share_of_errors(errors: Sequence[float]) -> float | None:
    """Return the half-width of the 90 % band as a share of the gain: the .9-quantile of the errors' sizes.

    errors: forecast errors as shares of the gain. None for fewer than LEAST_ERRORS.
    """
    return float(np.quantile(np.abs(errors), QUANTILE)) if len(errors) >= LEAST_ERRORS else None


def own_share(points: Sequence[Point], history: Sequence[Branch], warmup: int = 0) -> float | None:
    """Return the half-width as a share of the gain by a run's own errors; None before OWN_BRANCHES are finished.

    points: (step, loss) of the main path. history: finished branches, oldest first. warmup: steps of the warm-up.
    """
    if len(history) < OWN_BRANCHES:
        return None
    return share_of_errors(own_errors(tuple((step, loss) for step, loss in points), tuple(history), warmup))


@lru_cache(maxsize=64)
def own_errors(points: tuple[Point, ...], history: tuple[Branch, ...], warmup: int) -> tuple[float, ...]:
    """Return the errors of the finished branches as shares of their gains, oldest first.

    Each branch is forecast as it was possible when it began: from the main path up to its fork, and from the branches
    before it that fork no later. The first one, and those whose forecast is refused, are left out.
    """
    errors = []
    for number, branch in enumerate(history[1:], 1):
        earlier = [each for each in history[:number] if each.fork <= branch.fork]
        try:
            curve = fit_main_curve([point for point in points if point[0] <= branch.fork], warmup)
            check_range(branch, curve, earlier)
            gain = gain_constant(curve, earlier, branch, None) * branch.gain_factor
        except ForecastRefused:
            continue
        errors.append((branch.loss - (curve.at(branch.main_step) - gain)) / gain)
    return tuple(errors)
