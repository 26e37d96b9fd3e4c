"""Forecasts that stood when branches started, as the run's own ledger has them. Imports no torch and no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lrps.base.document import to_json
from lrps.costs.forecasts.forecast_outcome import WhenRecorded
from lrps.costs.forecasts.planned_decay import planned_decay
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Record
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan

KIND = "forecast"
"""Kind of the ledger records."""


@dataclass(frozen=True)
class RecordedLoss:
    """Forecast of the loss on one held-out set, or the reason why it was refused. What is not known is None."""

    loss: float | None = None
    """Loss in nats per predicted token."""
    half_width: float | None = None
    """Half-width of the 90 % band."""
    repeat_last_drop: float | None = None
    """Loss by the simplest rule, that the branch falls as far below its fork as the last one did."""
    branches: int = 0
    """Number of finished branches that the forecast is based on."""
    known_to: int | None = None
    """Last step of the main path with a loss that was known."""
    curve: Mapping[str, float] | None = None
    """Fields of the main path's curve (MainCurve in lrps/forecast/main_curve.py)."""
    refused: str | None = None
    """Reason in words why the forecast is refused."""


@dataclass(frozen=True)
class RecordedForecast:
    """Forecast of a version's branch as it was recorded before the branch was trained."""

    version: str
    """Version that the branch releases."""
    path: str
    """Name of the branch."""
    fork: int
    """Step of the main path at which it forks."""
    steps: int
    """Number of optimizer steps of the branch."""
    shape: str
    """Shape of the decay."""
    final: float
    """Learning rate at its end as a share of the peak."""
    recorded: WhenRecorded
    """Occasion of the record."""
    state: str | None
    """Digest of the state that the branch forked from; None if it was not known yet."""
    sets: Mapping[str, RecordedLoss]
    """Forecasts by the version of the held-out set."""

    def is_of(self, plan: Plan, path: TrainingPath) -> bool:
        """Return whether the path of a plan is still the branch that was forecast: also its decay is the same."""
        named = version_of(plan, path)
        if named is None or (self.path, self.fork, self.steps) != (path.name, path.start, path.steps):
            return False
        shape, final = planned_decay(plan, named[0])
        # A multi-step decay has levels of its own.
        return self.shape == shape and (shape == "multi-step" or self.final == final)

    def is_start_of(self, plan: Plan, path: TrainingPath, state: str | None) -> bool:
        """Return whether this was recorded when the path started from the state with this digest."""
        return self.recorded == "start" and self.state == state and self.is_of(plan, path)

    def facts(self) -> dict[str, Any]:
        """Return the facts of the ledger record; values that are None are left out."""
        sets = {name: _without_none(to_json(loss)) for name, loss in self.sets.items()}
        return _without_none({**to_json(self), "sets": sets})


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def forecast_of(record: Record) -> RecordedForecast:
    """Return the forecast in a ledger record of the kind `forecast`. Facts of later versions of lrps are left out."""
    known: dict[str, Any] = {field.name: record.facts.get(field.name) for field in fields(RecordedForecast)}
    names = {field.name for field in fields(RecordedLoss)}
    sets = {
        heldout: RecordedLoss(**{name: value for name, value in values.items() if name in names})
        for heldout, values in record.facts["sets"].items()
    }
    return RecordedForecast(**known | {"sets": sets})


def recorded_forecasts(plan: Plan) -> tuple[RecordedForecast, ...]:
    """Return all forecasts in the run's own ledger, oldest first. Raises LedgerError for a ledger that was changed."""
    records = read_ledger(plan.layout.ledger) if plan.layout.ledger.is_dir() else ()
    return tuple(forecast_of(record) for record in records if record.kind == KIND)


def standing_forecasts(plan: Plan) -> dict[str, RecordedForecast]:
    """Return path -> the forecast that stood when it started, or else the newest that was recorded before.

    Forecasts of branches that the plan has no longer, or has with another fork, length or decay, are left out.
    """
    found: dict[str, RecordedForecast] = {}
    for each in sorted(recorded_forecasts(plan), key=lambda each: each.recorded == "start"):
        path = plan.graph.by_name.get(each.path)
        if path is not None and each.is_of(plan, path):
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
