"""Drift: held-out losses of a main path that leave their curve after new data began; and the forecast that is left."""

from __future__ import annotations

from collections.abc import Sequence

from lrps.forecast.main_curve import Point, fit_main_curve
from lrps.forecast.refusal import ForecastRefused

IN_A_ROW = 3
"""Number of successive points off the curve that prove a drift."""
LEAST_DISTANCE = 0.01
"""Distance from the curve, in nats a token, that is never a drift."""
FALLBACK_HALF_WIDTH = 0.07
"""Half-width of the fallback's 90 % band in nats a token; its mean error was .03."""


def drift_step(points: Sequence[Point], start: float, warmup: int = 0) -> float | None:
    """Return the step at which the losses left the curve of the points up to `start`; None if they did not.

    That is the first of three successive points that are off by more than max(.01, 4 x rms of the fit) to one side.
    Raises ForecastRefused if the points up to `start` are too few for a curve.
    """
    curve = fit_main_curve([point for point in points if point[0] <= start], warmup)
    limit = max(LEAST_DISTANCE, 4 * curve.rms)
    off: list[float] = []
    side = 0.0
    for step, loss in sorted(point for point in points if point[0] > start):
        distance = loss - curve.at(step)
        if abs(distance) <= limit:
            off = []
            continue
        if distance * side <= 0:
            off = []
        side = distance
        off.append(step)
        if len(off) == IN_A_ROW:
            return off[0]
    return None


def check_drift(points: Sequence[Point], start: float, warmup: int = 0) -> None:
    """Raise ForecastRefused if the losses drift after the step `start` (`drift_step`)."""
    try:
        step = drift_step(points, start, warmup)
    except ForecastRefused as error:
        raise ForecastRefused(
            error.reason, f"whether the losses drifted since step {start:,.0f} cannot be told: before it {error}"
        ) from None
    if step is not None:
        raise ForecastRefused(
            "drift",
            f"the main path's loss on this held-out set left its curve at step {step:,.0f}, after the new data "
            f"began at step {start:,.0f}: the law is worthless here. Evaluate the main path at its end and "
            "subtract the last version's gain of the same role (new, previous or older text): in tests that was right "
            f"within {FALLBACK_HALF_WIDTH} nats",
        )
