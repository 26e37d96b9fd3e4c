"""Watch over a branch's forecast, on rank 0: it is recorded when the branch starts."""

from __future__ import annotations

import time

from lrps.costs.forecasts.recorded import KIND, recorded_forecasts, version_of
from lrps.costs.forecasts.standing import forecast_now
from lrps.ledger.writer import book_event
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.train.path_start import PathStart, Say


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
        if any(each.is_start_of(path, state) for each in recorded_forecasts(plan)):
            return
        found = forecast_now(plan, path, "start", state)
        if found is not None:
            book_event(plan.layout.ledger, KIND, path.start, time.monotonic() - began, **found.facts())
    except Exception as error:  # A forecast is a service: no fault of it may cost training.
        say(f"{path.name}: its forecast is not recorded ({type(error).__name__}: {error}); training continues")
