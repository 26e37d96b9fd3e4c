"""Losses of the versions of a plan, and of plans that could be, from the ledgers of its run. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lrps.base.errors import ConfigError
from lrps.costs.answers.pace import UNKNOWN_PACE
from lrps.costs.curves.heldout_curve import losses_alone
from lrps.costs.forecasts.known_losses import planned_branch, switching_names, switching_of
from lrps.costs.forecasts.planned_loss import PlannedLoss
from lrps.costs.forecasts.version_forecast import Outlook, forecaster, is_so_far
from lrps.costs.heldout_loss import mean_over_sets
from lrps.forecast import Forecast, ForecastRefused, mean_forecast
from lrps.forecast.branch import BranchPlan
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus

MOST_VERSIONS = 8
"""Largest number of versions to come that a plan has a forecast of: later ones are too far ahead."""
_WORDS = {
    "points": "too few losses",
    "not-finite": "loss not finite",
    "drift": "drift",
    "length": "length not tested",
    "horizon": "too far ahead",
    "no-gain": "no gain so far",
    "version-steps": "version too short",
    "history": "no branch yet",
    "fork": "forks at step 0",
    "no-decay": "does not decay",
    "schedule": "rate not constant",
    "optimizer": "optimizer changed",
}
"""Reason of a refusal -> its short words for tables."""


def refused_loss(refusal: ForecastRefused) -> PlannedLoss:
    """Return a loss that is not forecast, with the reason in short words."""
    return PlannedLoss(None, None, None, _WORDS.get(refusal.reason, refusal.reason))


def loss_of(forecast: Callable[[BranchPlan], dict[str, Forecast]], branch: BranchPlan) -> PlannedLoss:
    """Return the loss of a branch. forecast: the one of `version_forecast.forecaster`."""
    try:
        loss, half_width = mean_forecast(forecast(branch).values())
        return PlannedLoss(None, loss, half_width, None)
    except ForecastRefused as refusal:
        return refused_loss(refusal)


def losses_outlook(plan: Plan, begun: Sequence[PathStatus], name: str | None = None) -> Outlook | None:
    """Return what forecasts of losses are based on; None where no main path of path switching was evaluated.

    begun: status of the paths that have a ledger. name: paradigm; by default the first one of path switching that has
    branches.
    """
    statuses = {status.path.name: status for status in begun}
    try:
        switching = switching_of(plan, name)
    except ConfigError:
        return None
    if switching.main.name not in statuses:
        return None
    curve = losses_alone(plan, switching.main, statuses)
    return Outlook(plan, switching, curve, UNKNOWN_PACE, None) if curve.points else None


def losses_of_plan(plan: Plan, begun: Sequence[PathStatus]) -> dict[str, PlannedLoss]:
    """Return branch -> loss of its version, over all paradigms of path switching.

    begun: status of the paths that have a ledger.
    """
    outlooks = (losses_outlook(plan, begun, name) for name in switching_names(plan))
    return {branch: loss for look in outlooks if look is not None for branch, loss in losses_of_branches(look).items()}


def losses_of_branches(look: Outlook) -> dict[str, PlannedLoss]:
    """Return branch -> loss of its version, for the finished branches and the next ones of a plan's path switching."""
    shown = look.trained | set(look.to_come[:MOST_VERSIONS])
    return {
        path.name: _measured(look, version) if version in look.trained else _forecast(look, version)
        for version, path in look.switching.branches.items()
        if version in shown
    }


def branch_losses(look: Outlook) -> Callable[[int, int], PlannedLoss]:
    """Return the function from fork and steps of a possible branch to the loss of its version.

    The branch has the shape of the config's, and the loss is the mean over the held-out sets of the next version, or of
    the last one if all are trained. It is as if the text to come was like the text so far.
    """
    shape, final = look.switching.strategy.decay, look.switching.final
    try:
        forecast = forecaster(look, look.newest)
    except ForecastRefused as refusal:
        refused = refused_loss(refusal)
        return lambda *_: refused
    return lambda fork, steps: loss_of(forecast, BranchPlan(fork, steps, shape, final=final))


def _measured(look: Outlook, version: str) -> PlannedLoss:
    ends = {each.version: each.loss for each in look.ends if each.released == version}
    known = ends.keys() | look.plan.heldout.keys()
    sets = [each for each in look.plan.heldout_versions(version) if each in known]
    sets = [each for each in sets if is_so_far(look.plan, version, each)]
    return PlannedLoss(mean_over_sets(ends.get(each) for each in sets), None, None, None)


def _forecast(look: Outlook, version: str) -> PlannedLoss:
    branch = planned_branch(look.plan, look.switching.paradigm.name, look.switching.branches[version])
    try:
        return loss_of(forecaster(look, version), branch)
    except ForecastRefused as refusal:
        return refused_loss(refusal)
