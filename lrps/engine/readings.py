"""What steps tell, read some steps at a time: until then losses and norms lie on the device, and nobody waits for them.

A reading is the one moment at which the ranks talk about steps and a device is waited for. What is read is the same to
the last bit, however many steps a reading has. Must not import deepspeed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from lrps.base.errors import NonFiniteLoss

_AFTER_NON_FINITE = (
    "no state holds it, and the same run would come to the same step. Train with a lower schedule.peak_lr, a longer "
    "warm-up or other data, under another plan `name`"
)


@dataclass(frozen=True)
class Unread:
    """A step that nobody has read."""

    step: int
    loss: Tensor
    """Of this rank's rows: their mean, fp64, on the device."""
    grad_norm: Tensor | float
    """Equal on all ranks."""
    taken: bool
    """False if it was skipped because its gradients are not finite."""


@dataclass(frozen=True)
class StepResult:
    """What a step tells: equal on all ranks."""

    loss: float
    """Mean over the tokens of the global batch, in nats."""
    grad_norm: float
    """Global norm before clipping."""


@dataclass(frozen=True)
class Reading:
    """What the steps since the last reading tell: equal on all ranks."""

    steps: tuple[StepResult, ...]
    """In their order, up to the first one that is not finite."""
    stop: bool
    """True if any rank asked to stop."""
    sealed: bool
    """True if every rank said so."""
    due: bool
    """True if any rank said so."""
    patience: int
    """The fewest steps that any rank would take until the next reading."""
    failure: NonFiniteLoss | None
    """To be raised once the steps before it are written down."""


def read(unread: list[Unread], device: torch.device, *, stop: bool, sealed: bool, due: bool, patience: int) -> Reading:
    """Collective: all ranks have taken the same steps."""
    said = torch.tensor([stop, sealed, due, patience], dtype=torch.float64, device=device)
    mine = torch.stack([*(each.loss for each in unread), *said])
    everyone = mine.new_empty(dist.get_world_size() * len(mine))
    dist.all_gather_into_tensor(everyone, mine)
    norms = [torch.as_tensor(each.grad_norm, dtype=torch.float64, device=device) for each in unread]
    numbers = torch.cat([everyone, *(norm.reshape(1) for norm in norms)]).tolist()
    table = [numbers[begin : begin + len(mine)] for begin in range(0, len(everyone), len(mine))]
    *losses, stops, seals, dues, patiences = zip(*table, strict=True)
    # Summed exactly: no order of the ranks, and no number of steps in a reading, shows in the last bit.
    means = [math.fsum(column) / len(column) if all(map(math.isfinite, column)) else sum(column) for column in losses]
    results = [StepResult(*each) for each in zip(means, numbers[len(everyone) :], strict=True)]
    bad = next((i for i, mean in enumerate(means) if not (unread[i].taken and math.isfinite(mean))), None)
    return Reading(
        steps=tuple(results[:bad]),
        stop=any(stops),
        sealed=all(seals),
        due=any(dues),
        patience=int(min(patiences)),
        failure=None if bad is None else _failure(unread[bad].step, means[bad]),
    )


def _failure(step: int, loss: float) -> NonFiniteLoss:
    what = "the loss is finite but its gradients are not" if math.isfinite(loss) else f"the loss is {loss}"
    return NonFiniteLoss(f"step {step}: {what}; {_AFTER_NON_FINITE}")
