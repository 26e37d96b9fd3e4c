"""Averages of the main path as alternatives to a branch: their losses after an increment, and what they foretell.

An average at the end of the increment costs no branch, and the branch of the same version is lower by about as much as
the last branch of the same length was lower than its average (docs/forecast.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log

from lrps.base.document import OPTIONAL
from lrps.costs.curves.heldout_curve import HeldoutCurve
from lrps.costs.forecasts.finished_branch import FinishedBranch
from lrps.costs.heldout_loss import mean_over_sets

SAME_LENGTH = 0.1
"""Largest difference of the logarithms of two lengths that count as the same for the offset rule."""


@dataclass(frozen=True)
class AverageLoss:
    """Loss of an average of the main path on one held-out set, and of the branch by the offset rule."""

    loss: float
    """Measured loss of the average in nats per predicted token."""
    branch: float | None
    """Loss of the branch of the config by the offset rule; null without an earlier branch of the same length."""


@dataclass(frozen=True)
class AverageRow:
    """Average of the main path's weights at the end of a version's increment, in place of a branch."""

    form: str
    """Form of the weights: ema or merge."""
    step: int
    """Step of the main path: the end of the increment."""
    mean_loss: float | None
    """Mean of the losses over the held-out sets of the versions so far; null if one of them was not measured."""
    mean_branch: float | None
    """Mean of the branch's losses by the offset rule; null if one of them is not known."""
    branch_steps: int = field(metadata=OPTIONAL)
    """Number of steps of the branch that the offset rule forecasts: that of the config."""
    losses: Mapping[str, AverageLoss]
    """Losses by the version of the held-out set."""


def average_rows(
    curve: HeldoutCurve, end: int, steps: int, finished: Sequence[FinishedBranch], so_far: Sequence[str]
) -> Iterator[AverageRow]:
    """Yield a row for every form of average that was evaluated at the end of a version's increment.

    curve: that of the main path. end: step at which the increment ends. steps: length of the version's branch.
    finished: finished branches, oldest first; the offset is that of the last one of the same length. so_far: held-out
    sets of the versions so far, in the order of the plan.
    """
    at = {(each.form, each.step, each.version): each.loss for each in curve.averages or ()}
    last = next((each for each in reversed(finished) if abs(log(steps / each.steps)) <= SAME_LENGTH), None)
    ends = {each.version: each.loss for each in curve.branch_ends if last is not None and each.path == last.path}
    for form in sorted({form for form, step, _ in at if step == end}):
        losses = {}
        for heldout in sorted(each for each_form, step, each in at if (each_form, step) == (form, end)):
            before = at.get((form, last.stop, heldout)) if last is not None else None
            known = before is not None and heldout in ends
            loss = at[form, end, heldout]
            losses[heldout] = AverageLoss(loss, loss + ends[heldout] - before if known and before is not None else None)
        of_mean = [losses.get(each) for each in so_far]
        yield AverageRow(
            form=form,
            step=end,
            mean_loss=mean_over_sets(None if each is None else each.loss for each in of_mean),
            mean_branch=mean_over_sets(None if each is None else each.branch for each in of_mean),
            branch_steps=steps,
            losses=losses,
        )
