"""Curve of a path: its learning rate and its training loss over the steps of its lineage."""

from __future__ import annotations

from dataclasses import dataclass, field

from lrps.base.document import OPTIONAL
from lrps.ledger.loss_curve import read_losses
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan

_POINTS = 64
"""Number of steps, about, at which the learning rate of a path is given."""


@dataclass(frozen=True)
class PathCurve:
    """Learning rate of a path at some of its steps, and its training loss as far as it was logged."""

    parent: str | None
    """Name of the path that it forks from; null for the initial weights."""
    steps: tuple[int, ...]
    """Steps of the learning rates, ascending; the first and the last step of the path are among them."""
    lr: tuple[float, ...]
    """Learning rate at each of `steps`; at the last one, the rate that the schedule ends with."""
    loss_steps: tuple[int, ...]
    """Steps of the losses, ascending."""
    loss: tuple[float, ...]
    """Training loss at each of `loss_steps`, in nats per token; losses that are not finite are left out. Of more than
    1,024 losses only the first, last, lowest and highest of neighbouring ones."""
    mean_steps: tuple[int, ...] = field(default=(), metadata=OPTIONAL)
    """Last step of each group of neighbouring losses, ascending; empty if `loss` has all losses."""
    mean_loss: tuple[float, ...] = field(default=(), metadata=OPTIONAL)
    """Mean of the losses of each group."""
    mean_count: tuple[int, ...] = field(default=(), metadata=OPTIONAL)
    """Number of losses of each group."""


def path_curve(plan: Plan, path: TrainingPath) -> PathCurve:
    """Return the curve of a path, whether it was trained or not."""
    edges = {path.start, path.stop}
    for piece in path.rates.base.clipped(path.start, path.stop):
        begin, end = max(piece.start, path.start), min(piece.stop or path.stop, path.stop)
        edges |= {begin, max(begin, end - 1), end}  # a fall between two pieces takes one step: it is not a slope
    edges |= {step for step in path.rates.changes if path.start <= step <= path.stop}
    steps = sorted(edges | set(range(path.start, path.stop, max(1, path.steps // _POINTS))))
    losses = read_losses(plan.layout.path(path.name).metrics)
    return PathCurve(
        parent=path.parent.path if path.parent else None,
        steps=tuple(steps),
        lr=(*(path.rates.lr_at(step) for step in steps[:-1]), path.lr_stop),
        loss_steps=tuple(step for step, _ in losses.points),
        loss=tuple(loss for _, loss in losses.points),
        mean_steps=tuple(mean.step for mean in losses.means),
        mean_loss=tuple(mean.loss for mean in losses.means),
        mean_count=tuple(mean.number for mean in losses.means),
    )
