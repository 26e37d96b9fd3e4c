"""Track record of a run: the forecasts that stood when branches started, beside what the branches became."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lrps.costs.curves.heldout_curve import HeldoutCurve
from lrps.costs.forecasts.forecast_outcome import ForecastOutcome
from lrps.costs.forecasts.recorded import RecordedForecast, RecordedLoss, standing_forecasts
from lrps.plan.plan import Plan


def track_record(plan: Plan, curves: Mapping[str, HeldoutCurve]) -> tuple[ForecastOutcome, ...]:
    """Return the recorded forecasts of all branches of a plan with their outcomes, in the order of the plan.

    curves: held-out curves by the name of the main path. Raises LedgerError for a ledger that was changed.
    """
    standing = standing_forecasts(plan)
    return tuple(
        outcome
        for path in plan.graph.paths
        if path.name in standing and path.parent is not None
        for outcome in outcomes(standing[path.name], curves.get(path.parent.path))
    )


def outcomes(recorded: RecordedForecast, curve: HeldoutCurve | None) -> Iterator[ForecastOutcome]:
    """Yield a recorded forecast beside the measured losses, by held-out set. curve: that of the main path."""
    ends = () if curve is None else curve.branch_ends
    measured = {end.version: end.loss for end in ends if (end.path, end.released) == (recorded.path, recorded.version)}
    for heldout, loss in recorded.sets.items():
        yield _outcome(recorded, heldout, loss, measured.get(heldout))


def _outcome(recorded: RecordedForecast, heldout: str, loss: RecordedLoss, outcome: float | None) -> ForecastOutcome:
    error = _difference(outcome, loss.loss)
    widths = None if error is None or loss.half_width is None else error / loss.half_width
    return ForecastOutcome(
        version=recorded.version,
        path=recorded.path,
        heldout=heldout,
        recorded=recorded.recorded,
        loss=loss.loss,
        half_width=loss.half_width,
        repeat_last_drop=loss.repeat_last_drop,
        branches=loss.branches,
        known_to=loss.known_to,
        refused=loss.refused,
        outcome=outcome,
        error=error,
        error_in_half_widths=widths,
        inside=None if widths is None else abs(widths) <= 1,
        repeat_error=_difference(outcome, loss.repeat_last_drop),
    )


def _difference(outcome: float | None, forecast: float | None) -> float | None:
    return None if outcome is None or forecast is None else outcome - forecast
