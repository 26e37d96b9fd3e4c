"""Range of branches that the law was tested in: lengths like those that are finished, ends that are not far ahead."""

from __future__ import annotations

from collections.abc import Sequence

from lrps.forecast.branch import Branch, BranchPlan
from lrps.forecast.main_curve import MainCurve
from lrps.forecast.refusal import ForecastRefused

LENGTHS = (0.25, 4.0)
"""Least and largest length of a branch, as a multiple of the shortest and the longest finished one."""
HORIZON = 2.0
"""Largest step of a branch on the main curve, as a multiple of the last known step."""
LEAST_GAIN = 1e-9
"""Gain integral of a decay below which it ends at the peak: more than rounding leaves of it."""


def check_range(branch: BranchPlan, curve: MainCurve, history: Sequence[Branch]) -> None:
    """Raise ForecastRefused for a branch outside the range that the law was tested in, or with such a history."""
    for each in (branch, *history):
        _check_decay(each)
    if branch.main_step > HORIZON * curve.known:
        raise ForecastRefused(
            "horizon",
            f"the branch would end at step {branch.main_step:,.0f} of the main path's curve, which is known to step "
            f"{curve.known:,.0f}: more than {HORIZON:g} times as far. Forecast an earlier version, or train on first",
        )
    if history:
        low, high = LENGTHS[0] * min(p.steps for p in history), LENGTHS[1] * max(p.steps for p in history)
        if not low <= branch.steps <= high:
            raise ForecastRefused(
                "length",
                f"a branch of {branch.steps:,} steps is outside {low:,.0f} to {high:,.0f}, the range that the finished "
                "branches allow a forecast for",
            )


def _check_decay(branch: BranchPlan) -> None:
    """Raise ForecastRefused for a branch without a main path before it, or without a fall of the rate."""
    if branch.fork < 1:
        raise ForecastRefused("fork", "a branch from step 0 has no main path that it could be compared with")
    if not branch.integrals.gain > LEAST_GAIN:
        raise ForecastRefused(
            "no-decay",
            f"the branch from step {branch.fork:,} does not decay: its rate ends at {branch.final:g} of the peak. "
            "Lower final_lr",
        )
