"""The metrics of steps, copied from the device some steps at a time.

Until a sync, losses and gradient norms stay on the device, and no step waits for them. A sync is the only moment at
which the ranks communicate about steps and wait for a device. The values do not depend, in a single bit, on how many
steps a sync covers. Must not import deepspeed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from lrps.base.errors import NonFiniteLoss


@dataclass(frozen=True)
class UnsyncedStep:
    """A step whose loss and gradient norm are still on the device."""

    step: int
    """Number of the step, as `train_step` was called with it."""
    loss: Tensor
    """Mean loss of this rank's rows, or its part of that mean: a scalar in fp64, on the device."""
    grad_norm: Tensor | float
    """Global gradient norm, equal on all ranks."""
    taken: bool
    """False if the optimizer left the update out."""
    passed: bool = False
    """True if it was left out because the step was judged so (update_gate.py), which is no failure."""


@dataclass(frozen=True)
class StepResult:
    """The metrics of one step, equal on all ranks. They are finite unless the step passed without an update."""

    loss: float
    """Mean over the tokens of the global batch, in nats."""
    grad_norm: float
    """Global norm before clipping."""


@dataclass(frozen=True)
class MetricsSync:
    """The metrics of the steps since the previous sync, and the flags of all ranks combined; equal on all ranks."""

    steps: tuple[StepResult, ...]
    """Results in the order of steps, up to the first one that is not finite and did not pass without an update."""
    stop: bool
    """True if any rank was asked to stop."""
    written: bool
    """True if every rank has written its files of the save in flight."""
    save_due: bool
    """True if any rank wants to save now."""
    steps_until_sync: int
    """Number of steps until the next sync: the smallest that any rank proposed."""
    failure: NonFiniteLoss | None
    """Error to raise once the results in `steps` are recorded."""


def sync_metrics(
    steps: list[UnsyncedStep],
    device: torch.device,
    *,
    stop: bool,
    written: bool,
    save_due: bool,
    steps_until_sync: int,
    parts: int = 1,
) -> MetricsSync:
    """Combine the losses and the flags of all ranks. Collective: all ranks have taken the same steps.

    parts: number of ranks whose losses are parts of one mean.
    """
    flags = torch.tensor([stop, written, save_due, steps_until_sync], dtype=torch.float64, device=device)
    mine = torch.stack([*(each.loss for each in steps), *flags])
    everyone = mine.new_empty(dist.get_world_size() * len(mine))
    dist.all_gather_into_tensor(everyone, mine)
    norms = [torch.as_tensor(each.grad_norm, dtype=torch.float64, device=device) for each in steps]
    numbers = torch.cat([everyone, *(norm.reshape(1) for norm in norms)]).tolist()
    table = [numbers[begin : begin + len(mine)] for begin in range(0, len(everyone), len(mine))]
    *losses, all_stop, all_written, all_save_due, all_steps_until_sync = zip(*table, strict=True)
    means = [mean_of_ranks(column, parts) for column in losses]
    results = [StepResult(*each) for each in zip(means, numbers[len(everyone) :], strict=True)]
    bad = next((i for i, mean in enumerate(means) if _failed(steps[i], mean)), None)
    return MetricsSync(
        steps=tuple(results[:bad]),
        stop=any(all_stop),
        written=all(all_written),
        save_due=any(all_save_due),
        steps_until_sync=int(min(all_steps_until_sync)),
        failure=None if bad is None else _failure(steps[bad].step, means[bad]),
    )


def mean_of_ranks(losses: Sequence[float], parts: int = 1) -> float:
    """Return the mean of the losses of all ranks; NaN or infinity if one of them is not finite.

    It is summed exactly: neither the order of ranks nor the number of steps in a sync changes the last bit. parts:
    number of ranks whose losses add up to one that counts.
    """
    return math.fsum(losses) / (len(losses) // parts) if all(map(math.isfinite, losses)) else sum(losses)


def _failed(step: UnsyncedStep, loss: float) -> bool:
    return not (step.passed or (step.taken and math.isfinite(loss)))


def _failure(step: int, loss: float) -> NonFiniteLoss:
    what = "the loss is finite but its gradients are not" if math.isfinite(loss) else f"the loss is {loss}"
    return NonFiniteLoss(f"step {step}: {what}", at=step)
