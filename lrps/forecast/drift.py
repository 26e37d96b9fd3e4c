"""Drift: held-out losses of a main path that leave their curve after new data began."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lrps.forecast.fallback import FALLBACK_HALF_WIDTH
from lrps.forecast.main_curve import Point, fit_main_curve, points_to_fit
from lrps.forecast.refusal import ForecastRefused

IN_A_ROW = 3
"""Number of successive points off the curve that prove a drift."""
LEAST_DISTANCE = 0.01
"""Distance from the curve, in nats a token, that is never a drift."""
NOISE_FACTOR = 4
"""Distance from the curve, in units of the points' noise, that is never a drift."""


def drift_step(points: Sequence[Point], start: float, warmup: int = 0) -> float | None:
    """Return the step at which the losses left the curve of the points up to `start`; None if they did not.

    That is the first of three successive points that are off by more than max(.01, 4 x rms of the fit) to one side.
    Raises ForecastRefused if the points up to `start` are too few for a curve.
    """
    curve = fit_main_curve([point for point in points if point[0] <= start], warmup)
    later = sorted(point for point in points if point[0] > start)
    return _first_in_a_row(((step, loss - curve.at(step)) for step, loss in later), NOISE_FACTOR * curve.rms)


def earlier_drift_step(points: Sequence[Point], warmup: int = 0) -> float | None:
    """Return the step at which the losses leave the curve that is fitted to all of them; None if they follow it.

    This finds the drift of earlier increments. It widens the fit's rms, so that the noise is taken from the differences
    of successive points.
    """
    curve = fit_main_curve(points, warmup)
    distances = [(step, loss - curve.at(step)) for step, loss in points_to_fit(points, warmup)]
    noise = float(np.sqrt(np.mean(np.diff([distance for _, distance in distances]) ** 2) / 2))
    return _first_in_a_row(distances, NOISE_FACTOR * noise)


def _first_in_a_row(distances: Iterable[Point], limit: float) -> float | None:
    """Return the first step of IN_A_ROW successive distances beyond the limit, at least LEAST_DISTANCE, to one side."""
    off: list[float] = []
    side = 0.0
    for step, distance in distances:
        if abs(distance) <= max(LEAST_DISTANCE, limit):
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
    """Raise ForecastRefused if the losses drift after the step `start`, or drifted before it."""
    try:
        step = drift_step(points, start, warmup)
    except ForecastRefused as error:
        raise ForecastRefused(
            error.reason, f"whether the losses drifted since step {start:,.0f} cannot be told: before it {error}"
        ) from None
    when = f"after the new data began at step {start:,.0f}"
    if step is None:
        step, when = earlier_drift_step(points, warmup), "where the data of an earlier version may have changed"
    if step is not None:
        raise ForecastRefused(
            "drift",
            f"the main path's loss on this held-out set left its curve at step {step:,.0f}, {when}: the law is "
            "worthless here. What is left is the main path's loss at the end of the increment, once it is evaluated "
            "there, less the last version's gain on text of the same role (new, previous, older or next): in tests "
            f"that was right within {FALLBACK_HALF_WIDTH} nats",
        )
