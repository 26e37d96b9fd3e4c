"""Alert inside a branch: its held-out losses have left the forecast that stood when it started. Imports no torch.

It rests on the evaluations that there are: of saved states (`lrps evaluate CONFIG BRANCH --steps ..`) and of the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from lrps.costs.curves.measured_losses import loss_on_first
from lrps.costs.forecasts.recorded import RecordedForecast, RecordedLoss, standing_forecasts
from lrps.ledger.reader import RAW, HeldoutEvaluation
from lrps.plan.main_curve import curve_rows
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus


@dataclass(frozen=True)
class BranchAlert:
    """First evaluation at which a branch has left its forecast on a held-out set."""

    path: str
    """Name of the branch."""
    heldout: str
    """Version of the held-out set."""
    step: int
    """Lineage step of the evaluated state."""
    loss: float
    """Measured loss in nats per predicted token."""
    forecast: float
    """Forecast loss at the branch's progress there."""
    half_width: float
    """Half-width of the 90 % band at the branch's end."""

    def __str__(self) -> str:
        distance = abs(self.loss - self.forecast)
        side = "above" if self.loss > self.forecast else "below"
        return (
            f"branch off its forecast: at step {self.step:,} its loss on {self.heldout} is {self.loss:.4f}, "
            f"{distance:.4f} {side} the forecast for that step, more than two half-widths of {self.half_width:.4f} "
            "at two evaluations in a row"
        )


def branch_alerts(plan: Plan, statuses: Iterable[PathStatus]) -> dict[str, BranchAlert]:
    """Return path -> alert, of the branches that have left their forecasts. Raises LedgerError for a changed ledger."""
    standing = standing_forecasts(plan)
    found = {
        status.path.name: branch_alert(plan, standing[status.path.name], status.evaluations.values())
        for status in statuses
        if status.path.name in standing
    }
    return {name: alert for name, alert in found.items() if alert is not None}


def branch_alert(
    plan: Plan, recorded: RecordedForecast, evaluations: Iterable[HeldoutEvaluation]
) -> BranchAlert | None:
    """Return the earliest alert of a branch over its held-out sets; None if it is within its forecast.

    evaluations: those of the branch. Only raw states count, with their losses on the sequences that the main path is
    evaluated on, of the shards that the plan has now.
    """
    observed: dict[str, list[tuple[int, float]]] = {}
    for each in evaluations:
        source = plan.heldout.get(each.heldout)
        if each.form == RAW and recorded.fork < each.step and source and source.sha256 == each.manifest_sha256:
            loss = loss_on_first(plan, recorded.path, each, curve_rows(plan, each.heldout))
            if loss is not None:
                observed.setdefault(each.heldout, []).append((each.step, loss))
    found = (
        _alert(recorded, heldout, forecast, observed[heldout])
        for heldout, forecast in recorded.sets.items()
        if len(observed.get(heldout, ())) > 1 and forecast.curve is not None
    )
    return min((each for each in found if each is not None), key=lambda each: each.step, default=None)


def _alert(
    recorded: RecordedForecast, heldout: str, forecast: RecordedLoss, observed: list[tuple[int, float]]
) -> BranchAlert | None:
    # Imported here, as the law needs numpy and reports do without it.
    from lrps.forecast.branch import BranchPlan
    from lrps.forecast.main_curve import MainCurve
    from lrps.forecast.mid_branch import loss_within, off_forecast

    assert forecast.curve is not None
    assert forecast.loss is not None
    assert forecast.half_width is not None
    branch = BranchPlan(recorded.fork, recorded.steps, recorded.shape, final=recorded.final)
    # Later versions of lrps may record more.
    curve = MainCurve(**{each.name: forecast.curve[each.name] for each in fields(MainCurve)})
    gain = curve.at(branch.main_step) - forecast.loss
    off = off_forecast(observed, lambda step: loss_within(curve, branch, gain, step), forecast.half_width)
    if off is None:
        return None
    step, loss = off
    expected = loss_within(curve, branch, gain, step)
    return BranchAlert(recorded.path, heldout, round(step), loss, expected, forecast.half_width)
