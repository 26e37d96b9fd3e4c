"""Forecast of a run that its report shows: that of the next version, or of the last one if all are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lrps.base.errors import ConfigError
from lrps.costs.answers.pace import SpeedComparison
from lrps.costs.curves.heldout_curve import HeldoutCurve
from lrps.costs.forecasts.forecast_outcome import ForecastOutcome
from lrps.costs.forecasts.version_forecast import VersionForecast, outlook, version_forecast
from lrps.costs.price import Price
from lrps.forecast import ForecastRefused
from lrps.plan.plan import Plan


def newest_forecast(
    plan: Plan,
    curves: Mapping[str, HeldoutCurve],
    pace: SpeedComparison,
    price: Price | None,
    record: Sequence[ForecastOutcome] = (),
) -> tuple[VersionForecast | None, str | None]:
    """Return the forecast of the next version by what is known now, and the reason in words why it is refused.

    If all versions are trained, it is the forecast of the last one that was possible when its branch began. Both are
    None without path switching, without an evaluation of the main path, and while the forecast is refused on each
    held-out set. curves, pace, price: those of the run's comparison. record: its track record.
    """
    if not curves:
        return None, None
    try:
        look = outlook(plan, curves, pace, price, record=record)
        found = version_forecast(look, look.newest)
    except ConfigError:
        return None, None
    except ForecastRefused as refusal:
        return None, str(refusal)
    known = any(loss.loss is not None for row in found.rows for loss in row.losses.values())
    return (found if known else None), None
