"""Forecast of a branch: L = M(f + sigma D) - g H D^kappa, with a 90 % band, or a refusal.

The law and its constants were fitted on public curves (docs/forecast.md).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from lrps.forecast.band import half_width
from lrps.forecast.branch import Branch, BranchPlan
from lrps.forecast.drift import check_drift
from lrps.forecast.gain import gain_constant
from lrps.forecast.main_curve import MainCurve, Point, fit_main_curve
from lrps.forecast.own_band import own_share
from lrps.forecast.tested_range import check_range


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
    band_branches: int = 0
    """Number of these if the band is that of their own errors; 0 for the band of the public curves."""
    is_noisy: bool = False
    """Whether the main path's losses are off their curve by more than the band of its branches. The band is then the
    wide one of a forecast without branches."""


def mean_forecast(forecasts: Collection[Forecast]) -> tuple[float, float]:
    """Return the means of loss and half-width over held-out sets: the errors of the sets go together."""
    count = len(forecasts)
    return sum(each.loss for each in forecasts) / count, sum(each.half_width for each in forecasts) / count


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
    check_range(branch, curve, history)
    gain = gain_constant(curve, history, branch, peak) * branch.gain_factor
    main_loss = curve.at(branch.main_step)
    last = history[-1] if history else None
    share = own_share(main_points, history, warmup)
    band = partial(
        half_width,
        gain,
        length_ratio=steps / last.steps if last else 1.0,
        horizon_ratio=branch.main_step / curve.known,
        new_shape=bool(history) and shape not in {past.shape for past in history},
        own_share=share,
    )
    width = band(len(history))
    # Gains of branches that are measured from so noisy a curve teach little. Their own errors have the noise in them.
    is_noisy = share is None and curve.rms > width
    repeated = curve.at(fork) - (curve.at(last.fork) - last.loss) if last else None
    own = 0 if share is None else len(history)
    width = band(0) if is_noisy else width
    return Forecast(branch, main_loss - gain, width, main_loss, gain, repeated, curve, len(history), own, is_noisy)
