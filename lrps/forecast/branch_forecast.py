"""Forecast of a branch: L = M(f + sigma D) - g H D^kappa, with a 90 % band, or a refusal.

The law and its constants were fitted on public curves (docs/forecast.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrps.forecast.band import half_width
from lrps.forecast.branch import Branch, BranchPlan
from lrps.forecast.drift import check_drift
from lrps.forecast.gain import gain_constant
from lrps.forecast.main_curve import MainCurve, Point, fit_main_curve
from lrps.forecast.refusal import ForecastRefused

LENGTHS = (0.25, 4.0)
"""Least and largest length of a branch, as a multiple of the shortest and the longest finished one."""
HORIZON = 2.0
"""Largest step of a branch on the main curve, as a multiple of the last known step."""


@dataclass(frozen=True)
class Forecast:
    """Forecast loss of a branch on one held-out set, and its basis."""

    branch: BranchPlan
    """Branch that is forecast."""
    loss: float
    """Forecast of the final loss, in nats a token."""
    half_width: float
    """Half-width of the 90 % band, in nats a token."""
    main_loss: float
    """Loss that the main path would have at the same progress, in nats a token."""
    gain: float
    """Loss that the decay removes, in nats a token."""
    repeat_last_drop: float | None
    """Forecast of the simplest rule: the fork's loss less the last branch's drop. None without a branch."""
    curve: MainCurve
    """Curve of the main path."""
    branches: int
    """Number of finished branches that it is based on."""


def forecast_branch(
    main_points: Sequence[Point],
    history: Sequence[Branch],
    *,
    fork: int,
    steps: int,
    shape: str,
    peak: float | None = None,
    warmup: int = 0,
    final: float = 0.0,
    drift_from: int | None = None,
) -> Forecast:
    """Return the forecast of a branch from the main path's held-out losses and the finished branches.

    main_points: (step, loss) that are known so far, at least 8 of them from step 1,000 on. history: finished branches,
    oldest first, losses on the same held-out set. peak: peak learning rate, needed without a finished branch. warmup:
    steps of the main path's warm-up. final: rate at the end as a share of the peak. drift_from: start of the increment
    that the version adds, after which the points are tested for drift.

    Steps count along the lineage, losses are in nats a token. Raises ForecastRefused where the law is known not to
    hold, ValueError for a shape that no decay has. docs/forecast.md has an example.
    """
    main_points = [(float(step), float(loss)) for step, loss in main_points]
    branch = BranchPlan(fork, steps, shape, final=final)
    curve = fit_main_curve(main_points, warmup)
    if drift_from is not None:
        check_drift(main_points, drift_from, warmup)
    _check_range(branch, curve, history)
    gain = gain_constant(curve, history, branch, peak) * branch.gain_factor
    main_loss = curve.at(branch.main_step)
    last = history[-1] if history else None
    width = half_width(
        gain,
        len(history),
        length_ratio=steps / last.steps if last else 1.0,
        horizon_ratio=branch.main_step / curve.known,
        new_shape=bool(history) and shape not in {past.shape for past in history},
    )
    repeated = curve.at(fork) - (curve.at(last.fork) - last.loss) if last else None
    return Forecast(branch, main_loss - gain, width, main_loss, gain, repeated, curve, len(history))


def _check_range(branch: BranchPlan, curve: MainCurve, history: Sequence[Branch]) -> None:
    """Raise ForecastRefused for a branch outside the range that the law was tested in."""
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
