"""The gate of an optimizer step: the moment when the gradient norm is known and nothing of the state has changed.

A step that is dropped there leaves weights, moments and Adam's step count bit for bit as if it had never been taken.
Depends on internals of deepspeed 0.19.8 (see the comments), but gets the engine as an argument and must not import
deepspeed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lrps.engine.metrics_sync import mean_of_ranks

Judge = Callable[[float, float], bool]
"""Function from the loss and the gradient norm of a step to True if the step is to pass without an update.

Both numbers are equal on all ranks, NaN or infinite where they are not finite. It is called once for each step, on all
ranks, and must give the same answer on each of them.
"""


class UpdateGate:
    """The gate of one DeepSpeed engine. Without a judge every step is exactly what DeepSpeed makes of it."""

    def __init__(self, engine: Any, parts: int = 1) -> None:
        """Wrap the methods of the engine's optimizer that compute the norm within its step.

        parts: number of ranks whose losses are parts of one mean.
        """
        self._engine, self._parts = engine, parts
        self._judge: Judge | None = None
        self._losses = torch.empty(0)
        self.norm: float | None = None
        """Norm that the judge was given in the current step; None if it was not asked."""
        self.passed = False
        """True if the current step passes without an update."""
        self.hold: Callable[[], None] | None = None
        """Called once, before the state is changed for the next time."""
        stage, optimizer = engine.zero_optimization_stage(), engine.optimizer
        self._wrap_norm(stage, optimizer)
        if stage > 0:
            update_scale = optimizer._update_scale
            optimizer._update_scale = lambda overflow=False: update_scale(self._is_fault(overflow))

    def _wrap_norm(self, stage: int, optimizer: Any) -> None:
        """Let the optimizer ask the judge once it has computed the norm."""
        if stage in (1, 2):
            norm_of = optimizer.scaled_global_norm
            optimizer.scaled_global_norm = lambda *args, **kwargs: self._judged(norm_of(*args, **kwargs))
        elif stage == 3:
            groups_of = optimizer._get_norm_groups
            optimizer._get_norm_groups = lambda: self._judged_groups(groups_of())

    def begin(self, judge: Judge | None, loss: Tensor, clip: float = 0.0) -> None:
        """Begin the update of a step. Collective if there is a judge.

        loss: mean loss of this rank, or its part of one, in fp64. clip: largest gradient norm; 0 for that of the
        engine's config.
        """
        self.release()
        self._set_clip(clip or self._engine._config._param_dict["gradient_clipping"])
        self._judge, self.norm, self.passed = judge, None, False
        if judge is not None:
            self._losses = loss.new_empty(dist.get_world_size())
            dist.all_gather_into_tensor(self._losses, loss.reshape(1))

    def release(self) -> None:
        """Call `hold`, if there is one: the state is about to change."""
        hold, self.hold = self.hold, None
        if hold is not None:
            hold()

    def _set_clip(self, clip: float) -> None:
        """Set the largest gradient norm, which DeepSpeed reads in every step; 0 for none."""
        if self._engine.zero_optimization_stage() == 0:
            self._engine._config.gradient_clipping = clip
        else:
            self._engine.optimizer.clip_grad = clip

    def drops(self, norm: float) -> bool:
        """Return True if the step passes without an update, and drop it: for stage 0, which has no step to wrap.

        Then the engine is as after a step of another stage whose gradients are not finite.
        """
        if not self._ask(norm):
            return False
        self._engine.zero_grad()
        self._engine.micro_steps += 1
        self._engine.global_steps += 1
        self._engine.skipped_steps += 1
        return True

    def _judged(self, norm: Tensor) -> Tensor:
        """Return the norm, or infinity: then DeepSpeed clears the gradients and leaves the update out."""
        return torch.full_like(norm, math.inf) if self._ask(norm) else norm

    def _judged_groups(self, groups: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the norms of the groups of parameters, or infinity for each."""
        if self._judge is None:
            return groups
        stacked = torch.stack(list(groups))
        # DeepSpeed gives -1 for the norm of a group that is not finite.
        norm = torch.where((stacked < 0).any(), math.inf, torch.linalg.vector_norm(stacked))
        return [torch.full_like(group, math.inf) for group in groups] if self._ask(norm) else groups

    def _is_fault(self, overflow: bool) -> bool:
        """Return whether DeepSpeed is to report a step that it leaves out.

        It does not compute the norm if it has found a gradient that is not finite before, as in bf16 at stages 1 and 2.
        """
        if overflow and self.norm is None:
            self._ask(math.inf)
        return overflow and not self.passed

    def _ask(self, norm: Tensor | float) -> bool:
        """Ask the judge about the current step; waits for the device, as DeepSpeed does before every update."""
        if self._judge is None:
            return False
        number = torch.as_tensor(norm, dtype=self._losses.dtype, device=self._losses.device)
        *losses, self.norm = torch.cat([self._losses, number.reshape(1)]).tolist()
        self.passed = self._judge(mean_of_ranks(losses, self._parts), self.norm)
        return self.passed
