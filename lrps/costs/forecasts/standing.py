"""Forecast of a branch by what the run's ledgers say now, and its record. Imports no torch."""

from __future__ import annotations

import time
from dataclasses import asdict

from lrps.base.errors import ConfigError
from lrps.costs.answers.pace import UNKNOWN_PACE
from lrps.costs.curves.heldout_curve import losses_alone
from lrps.costs.forecasts.forecast_outcome import WhenRecorded
from lrps.costs.forecasts.known_losses import planned_branch, switching_of
from lrps.costs.forecasts.recorded import KIND, RecordedForecast, RecordedLoss, version_of
from lrps.costs.forecasts.version_forecast import ForecastLoss, Outlook, planned_losses
from lrps.forecast import ForecastRefused
from lrps.ledger.writer import book_event
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.status import path_status


def forecast_now(plan: Plan, path: TrainingPath, recorded: WhenRecorded, state: str | None) -> RecordedForecast | None:
    """Return the forecast of a branch by what the run's ledgers say now; None for a path that is no such branch.

    Where the law refuses, on one held-out set or on all, the reason is in place of the loss. state: digest of the state
    that the branch forks from.
    """
    named = version_of(plan, path)
    if named is None:
        return None
    paradigm, version = named
    try:
        look = _losses_now(plan, paradigm)
        losses = planned_losses(look, version)
        refusal = "the main path was never evaluated on this held-out set"
    except ForecastRefused as error:
        losses, refusal = {}, str(error)
    sets = [each for each in plan.heldout_versions(version) if each in plan.heldout]
    found = {each: _recorded(losses[each]) if each in losses else RecordedLoss(refused=refusal) for each in sets}
    branch = planned_branch(plan, paradigm, path)
    decay = (branch.fork, branch.steps, branch.shape, branch.final)
    return RecordedForecast(version, path.name, *decay, recorded, state, found)


def _recorded(loss: ForecastLoss) -> RecordedLoss:
    return RecordedLoss(
        loss=loss.loss,
        half_width=loss.half_width,
        repeat_last_drop=loss.repeat_last_drop,
        branches=loss.branches,
        known_to=loss.known_to,
        curve=None if loss.curve is None else asdict(loss.curve),
        refused=loss.refused,
    )


def _losses_now(plan: Plan, paradigm: str) -> Outlook:
    """Return what forecasts of losses are based on, from the ledgers of the main path and of its branches."""
    switching = switching_of(plan, paradigm)
    paths = (switching.main, *switching.branches.values())
    statuses = {path.name: path_status(plan, path) for path in paths if plan.layout.path(path.name).ledger.is_dir()}
    if switching.main.name not in statuses:
        raise ForecastRefused("points", f"{switching.main.name} has no ledger here, so that its losses are not known")
    return Outlook(plan, switching, losses_alone(plan, switching.main, statuses), UNKNOWN_PACE, None)


def record_on_request(plan: Plan, path: TrainingPath) -> None:
    """Write the present forecast of a branch that was not begun into the run's own ledger.

    Raises ConfigError for a branch that was begun: its forecast was recorded when it started.
    """
    began = time.monotonic()
    if plan.layout.path(path.name).ledger.is_dir():
        raise ConfigError(
            f"--record: {path.name} was begun already, so that a forecast recorded now would prove nothing; the run "
            "has recorded the one that stood when it started (`lrps ledger show CONFIG --kind forecast`)"
        )
    found = forecast_now(plan, path, "request", None)
    assert found is not None, "the branches of a forecast are those of path switching"
    book_event(plan.layout.ledger, KIND, path.start, time.monotonic() - began, **found.facts())
