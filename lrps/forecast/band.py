"""Width of the 90 % band of a forecast."""

from __future__ import annotations

from math import log

SHARE_OF_GAIN = (0.25, 0.03, 0.02)
"""Half-width as a share of the gain with no, one, and two or more finished branches."""


def half_width(
    gain: float,
    history: int,
    *,
    length_ratio: float,
    horizon_ratio: float,
    new_shape: bool,
    own_share: float | None = None,
) -> float:
    """Return the half-width of the 90 % band in nats a token.

    gain: gain of the branch over the main path. history: number of finished branches. length_ratio: steps of the branch
    by those of the newest finished one. horizon_ratio: step of the branch on the main curve by the last known step.
    new_shape: no finished branch has the shape. own_share: what takes the place of SHARE_OF_GAIN, from the run's own
    errors (lrps/forecast/own_band.py).
    """
    basis = SHARE_OF_GAIN[min(history, len(SHARE_OF_GAIN) - 1)] if own_share is None else own_share
    width = gain * (basis + 0.015 * abs(log(length_ratio)) + 0.03 * max(0.0, log(horizon_ratio)))
    return width + (0.04 * gain if new_shape else 0.0) + 0.001
