"""Forecasts that stood when branches started, as the run's own ledger has them. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lrps.base.document import to_json
from lrps.base.errors import ConfigError
from lrps.costs.answers.pace import SpeedComparison
from lrps.costs.curves.heldout_curve import losses_alone
from lrps.costs.forecasts.forecast_outcome import WhenRecorded
from lrps.costs.forecasts.known_losses import planned_branch, switching_of
from lrps.costs.forecasts.version_forecast import ForecastLoss, Outlook, planned_losses, refused_loss
from lrps.forecast import ForecastRefused
from lrps.forecast.branch import BranchPlan
from lrps.forecast.main_curve import MainCurve
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Record
from lrps.ledger.writer import book_event
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.status import path_status

KIND = "forecast"
"""Kind of the ledger records."""

_NO_PACE = SpeedComparison(None, None, None, None, None, None, False, {})
"""Speed of a run for forecasts of losses alone."""


@dataclass(frozen=True)
class RecordedForecast:
    """Forecast of a version's branch as it was recorded before the branch was trained."""

    version: str
    """Version that the branch releases."""
    path: str
    """Name of the branch."""
    branch: BranchPlan
    """Fork, length and shape of the branch."""
    recorded: WhenRecorded
    """Occasion of the record."""
    state: str | None
    """Digest of the state that the branch forked from; None if it was not known yet."""
    losses: Mapping[str, ForecastLoss]
    """Forecasts, or reasons for their refusal, by the version of the held-out set."""

    def is_of(self, path: TrainingPath) -> bool:
        """Return whether the path is still the branch that was forecast."""
        return (self.path, self.branch.fork, self.branch.steps) == (path.name, path.start, path.steps)

    def is_start_of(self, path: TrainingPath, state: str | None) -> bool:
        """Return whether this was recorded when the path started from the state with this digest."""
        return self.recorded == "start" and self.state == state and self.is_of(path)

    def facts(self) -> dict[str, Any]:
        """Return the facts of the ledger record; values that are None are left out."""
        branch = {name: getattr(self.branch, name) for name in ("fork", "steps", "shape", "final")}
        sets = {name: _without_none(to_json(loss)) for name, loss in self.losses.items()}
        named = {"path": self.path, "version": self.version, **branch, "recorded": self.recorded}
        return {**named, **({} if self.state is None else {"state": self.state}), "sets": sets}


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def forecast_of(record: Record) -> RecordedForecast:
    """Return the forecast in a ledger record of the kind `forecast`. Facts of later versions of lrps are left out."""
    facts = record.facts
    branch = BranchPlan(*(facts[name] for name in ("fork", "steps", "shape", "final")))
    losses = {name: _loss_of(values) for name, values in facts["sets"].items()}
    return RecordedForecast(facts["version"], facts["path"], branch, facts["recorded"], facts.get("state"), losses)


def _loss_of(values: Mapping[str, Any]) -> ForecastLoss:
    known: dict[str, Any] = {field.name: values.get(field.name) for field in fields(ForecastLoss)}
    return ForecastLoss(**known | {"curve": MainCurve(**values["curve"]) if "curve" in values else None})


def recorded_forecasts(plan: Plan) -> tuple[RecordedForecast, ...]:
    """Return all forecasts in the run's own ledger, oldest first. Raises LedgerError for a ledger that was changed."""
    records = read_ledger(plan.layout.ledger) if plan.layout.ledger.is_dir() else ()
    return tuple(forecast_of(record) for record in records if record.kind == KIND)


def standing_forecasts(plan: Plan) -> dict[str, RecordedForecast]:
    """Return path -> the forecast that stood when it started, or else the newest that was recorded before.

    Forecasts of branches that the plan has no longer, or has with another fork or length, are left out.
    """
    found: dict[str, RecordedForecast] = {}
    for each in sorted(recorded_forecasts(plan), key=lambda each: each.recorded == "start"):
        path = plan.graph.by_name.get(each.path)
        if path is not None and each.is_of(path):
            found[each.path] = each
    return found


def version_of(plan: Plan, path: TrainingPath) -> tuple[str, str] | None:
    """Return (paradigm, version) of a branch of path switching; None for any other path."""
    if path.parent is None:
        return None
    return next(
        (
            (paradigm.name, release.version)
            for paradigm in plan.graph.paradigms
            if paradigm.kind == "path-switching"
            for release in paradigm.releases
            if release.path == path.name
        ),
        None,
    )


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
    found = {each: losses.get(each) or refused_loss(refusal) for each in sets}
    return RecordedForecast(version, path.name, planned_branch(plan, paradigm, path), recorded, state, found)


def _losses_now(plan: Plan, paradigm: str) -> Outlook:
    """Return what forecasts of losses are based on, from the ledgers of the main path and of its branches."""
    switching = switching_of(plan, paradigm)
    paths = (switching.main, *switching.branches.values())
    statuses = {path.name: path_status(plan, path) for path in paths if plan.layout.path(path.name).ledger.is_dir()}
    if switching.main.name not in statuses:
        raise ForecastRefused("points", f"{switching.main.name} has no ledger here, so that its losses are not known")
    return Outlook(plan, switching, losses_alone(plan, switching.main, statuses), _NO_PACE, None)


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
