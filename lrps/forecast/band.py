"""Width of the 90 % band of a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np

SHARE_OF_GAIN = (0.25, 0.03, 0.02)
"""Half-width as a share of the gain with no, one, and two or more finished branches."""
ENOUGH_ERRORS = 8
"""Number of a run's own forecasts with outcomes from which on they set the share of the gain."""


def half_width(
    gain: float, history: int, *, length_ratio: float, horizon_ratio: float, new_shape: bool, share: float | None = None
) -> float:
    """Return the half-width of the 90 % band in nats a token.

    gain: gain of the branch over the main path. history: number of finished branches. length_ratio: steps of the branch
    by those of the newest finished one. horizon_ratio: step of the branch on the main curve by the last known step.
    new_shape: no finished branch has the shape. share: share of the gain by the run's own errors (`share_of_gain`).
    """
    basis = SHARE_OF_GAIN[min(history, len(SHARE_OF_GAIN) - 1)] if share is None else share
    width = gain * (basis + 0.015 * abs(log(length_ratio)) + 0.03 * max(0.0, log(horizon_ratio)))
    return width + (0.04 * gain if new_shape else 0.0) + 0.001


def share_of_gain(errors: Sequence[tuple[float, float]]) -> float | None:
    """Return the share of the gain by a run's own record: the .9-quantile of |error| / gain; None for too few.

    errors: (outcome - forecast, gain) of every forecast with an outcome.
    """
    if len(errors) < ENOUGH_ERRORS:
        return None
    return float(np.quantile([abs(error) / gain for error, gain in errors], 0.9))
