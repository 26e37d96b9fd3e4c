"""Watch over the forecast of a branch, on rank 0: recorded when the branch starts, compared with its evaluations."""

from __future__ import annotations

import time

from lrps.base.errors import LineageError
from lrps.costs.forecasts.branch_alert import BranchAlert, branch_alert
from lrps.costs.forecasts.recorded import KIND, RecordedForecast, recorded_forecasts, standing_forecasts, version_of
from lrps.costs.forecasts.standing import forecast_now
from lrps.ledger.writer import book_event
from lrps.paths.graph import TrainingPath
from lrps.plan.main_curve import newest_evaluations
from lrps.plan.plan import Plan
from lrps.train.path_start import PathStart, Say

TRIES = 5
"""Number of times that a forecast waits a second for the ledger that another process writes."""


def record_forecast(plan: Plan, path: TrainingPath, start: PathStart, say: Say) -> None:
    """Write the forecast of a branch into the run's own ledger when the branch forks, once for the state it forks from.

    Where the law refuses, the reason is recorded. Does nothing for a path that is no branch of path switching, and for
    one that is resumed. Whatever fails is shown, and training continues.
    """
    origin, began = start.origin, time.monotonic()
    if origin.verb != "fork" or not start.steps_to_train or version_of(plan, path) is None:
        return
    state = None if origin.checkpoint is None else origin.checkpoint.digest
    try:
        if any(each.is_start_of(plan, path, state) for each in recorded_forecasts(plan)):
            return
        found = forecast_now(plan, path, "start", state)
        if found is not None:
            _book(plan, found, time.monotonic() - began)
    except Exception as error:  # A forecast is a service: no fault of it may cost training.
        say(f"{path.name}: its forecast is not recorded ({type(error).__name__}: {error}); training continues")


def _book(plan: Plan, found: RecordedForecast, seconds: float) -> None:
    """Write a forecast into the run's own ledger. Raises LineageError if others write it all the while."""
    for left in reversed(range(TRIES)):
        try:
            book_event(plan.layout.ledger, KIND, found.fork, seconds, **found.facts())
            return
        except LineageError:
            if not left:
                raise


def alert_at(plan: Plan, path: TrainingPath, step: int) -> BranchAlert | None:
    """Return the alert of a branch that the evaluation of the state of a step gives; None if there was one without it.

    States may be evaluated in any order: that of an earlier step can be the one with which two in a row are off.
    """
    if version_of(plan, path) is None:
        return None
    try:
        standing = standing_forecasts(plan).get(path.name)
        if standing is None:
            return None
        known = newest_evaluations(plan, path).values()
        before = branch_alert(plan, standing, [each for each in known if each.step != step])
        return None if before else branch_alert(plan, standing, known)
    except Exception:  # As above; `lrps status` and `lrps report` read the same files, and report what is wrong.
        return None
