"""Held-out losses of one state on the sequences that another state was evaluated on too."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from lrps.ledger.reader import RAW, HeldoutEvaluation
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus
from lrps.store.row_losses import read_row_losses


def losses_of_rows(plan: Plan, path: str, found: HeldoutEvaluation) -> array[float] | None:
    """Return the loss of every sequence of an evaluation; None if its file is missing or that of another one."""
    form = None if found.form == RAW else found.form
    file = plan.layout.path(path).row_losses(found.step, found.heldout, form)
    return read_row_losses(file, found.row_losses_sha256)


def loss_on_first(plan: Plan, path: str, found: HeldoutEvaluation, rows: int) -> float | None:
    """Return the loss on the first `rows` sequences of an evaluation; None if it cannot be known."""
    if found.rows == rows:
        return found.loss
    if found.first_rows is not None and found.first_rows["rows"] == rows:
        return float(found.first_rows["loss"])
    losses = losses_of_rows(plan, path, found) if rows < found.rows else None
    return None if losses is None else sum(losses[:rows]) / rows


def averages_of_path(status: PathStatus) -> Iterator[HeldoutEvaluation]:
    """Yield the newest evaluations of averages of the path's weights, by step."""
    yield from sorted((each for each in status.evaluations.values() if each.form != RAW), key=lambda each: each.step)


def states_of_path(status: PathStatus, form: str = RAW) -> Iterator[HeldoutEvaluation]:
    """Yield the newest evaluations of the path's own states in a form of their weights, by step.

    That of the initial model is not one of them.
    """
    found = (each for each in status.evaluations.values() if each.initial_weights is None and each.form == form)
    yield from sorted(found, key=lambda each: each.step)
