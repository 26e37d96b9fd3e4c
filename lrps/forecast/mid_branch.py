"""Forecast inside a branch, and the test whether its held-out losses have left it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lrps.forecast.branch import BranchPlan
from lrps.forecast.decay_integrals import decay_integrals
from lrps.forecast.main_curve import MainCurve, Point
from lrps.forecast.tested_range import LEAST_GAIN

HALF_WIDTHS = 2.0
"""Distance from the forecast, in half-widths of the band at the branch's end, beyond which an evaluation is off."""
IN_A_ROW = 2
"""Number of successive evaluations that are off, after which the branch is."""


def loss_within(curve: MainCurve, branch: BranchPlan, gain: float, step: float) -> float:
    """Return the forecast loss at a lineage step of a branch, in nats a token.

    The integrals of the decay end at the branch's progress there; its length stays the same. curve: that of the main
    path. gain: gain of the whole branch. Before the fork the loss is that of the main path.
    """
    progress = (step - branch.fork) / branch.steps
    if progress <= 0:
        return curve.at(step)
    part = decay_integrals(branch.shape, branch.final, min(progress, 1.0))
    whole = branch.integrals.gain
    removed = gain * part.gain / whole if whole > LEAST_GAIN else 0.0  # A rate that does not fall removes nothing.
    return curve.at(branch.fork + part.progress * branch.steps) - removed


def off_forecast(observed: Iterable[Point], forecast: Callable[[float], float], half_width: float) -> Point | None:
    """Return the evaluation at which a branch has left its forecast: the second of two in a row that are off.

    observed: (step, loss). forecast: function from a step to the forecast loss. half_width: that of the band at the
    branch's end. None if no two successive evaluations are off by more than HALF_WIDTHS of it.
    """
    off = 0
    for step, loss in sorted(observed):
        off = off + 1 if abs(loss - forecast(step)) > HALF_WIDTHS * half_width else 0
        if off == IN_A_ROW:
            return step, loss
    return None
