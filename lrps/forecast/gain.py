"""Gain of a branch over the main path at equal progress: g H D^kappa, with g from the branches that are finished."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

import numpy as np

from lrps.forecast.branch import Branch, BranchPlan
from lrps.forecast.main_curve import MainCurve
from lrps.forecast.refusal import ForecastRefused

LENGTH_TREND, TIME_TREND = 0.03, 0.1
"""Standard deviations of the priors of the gain's trends with ln D and with ln t."""
NOISE = 0.02
"""Standard deviation of ln g of a branch that gains much more than the main path does meanwhile."""
UNKNOWN_GAIN, UNKNOWN_PEAK = 0.057, 1e-3
"""Gain constant without any branch, and the peak rate at which it was measured.

For AdamW with betas (.9, .95), weight decay .1, clipping at 1 and a vocabulary of about 50,000 tokens.
"""


def gain_constant(curve: MainCurve, history: Sequence[Branch], branch: BranchPlan, peak: float | None) -> float:
    """Return the gain constant g of a branch: from the finished ones, or else from the peak rate alone.

    Ridge regression ln g_i = ln g + d ln(D_i / D) + m ln(t_i / t) with priors of d and m around 0; a branch weighs less
    the more of its improvement the main path makes alone. Raises ForecastRefused for a branch that is no better than
    the main path, and without branches for a peak rate that is not given.
    """
    if not history:
        if peak is None:
            raise ForecastRefused("history", "without a finished branch a forecast needs the peak learning rate")
        return float(UNKNOWN_GAIN * (peak / UNKNOWN_PEAK) ** (1 / 3))
    rows, logs, weights = [], [], []
    for past in history:
        gained = curve.at(past.main_step) - past.loss
        if not gained > 0:
            raise ForecastRefused(
                "no-gain",
                f"the branch from step {past.fork:,} is no better than the main path at the same progress "
                f"({past.loss:.4f}, main path {curve.at(past.main_step):.4f}): the law does not hold for it",
            )
        alone = (curve.at(past.fork) - curve.at(past.main_step)) / gained
        rows.append([1.0, log(past.steps / branch.steps), log(past.main_step / branch.main_step)])
        logs.append(log(gained / past.gain_factor))
        weights.append(1 / (NOISE * (1 + 2 * max(0.0, alone))) ** 2)
    design, scale = np.array(rows), np.array(weights)
    priors = np.diag([0.0, LENGTH_TREND**-2, TIME_TREND**-2])
    solution = np.linalg.solve(design.T @ (scale[:, None] * design) + priors, design.T @ (scale * np.array(logs)))
    return exp(float(solution[0]))
