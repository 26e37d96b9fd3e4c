"""Sums of the gradients of a step's micro-batches in fp32, for ZeRO stage 1 in bf16.

DeepSpeed 0.19.8 sums them in bf16 there: a small gradient that is added to a large sum is lost. Stages 2 and 3 sum in
fp32 by a setting, which at stage 1 would swap in an optimizer that asserts instead of skipping a step that is not
finite. Here DeepSpeed reduces nothing before the end of the step (`coalesce_grad_reduction`), and gets the sum as a
single gradient, rounded once. Gets DeepSpeed's engine as an argument and must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class GradientSum:
    """Buffer with 4 bytes for each parameter, on every process, in which gradients are summed."""

    def __init__(self, engine: Any, micro_batches: int) -> None:
        """Allocate the buffer and let the engine's backward passes fill it.

        The engine counts each micro-batch as a whole step: its gradient_accumulation_steps is 1.
        """
        self._engine, self._micro_batches = engine, micro_batches
        trained = [parameter for parameter in engine.module.parameters() if parameter.requires_grad]
        self._sums = {parameter: torch.zeros_like(parameter, dtype=torch.float32) for parameter in trained}
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(self._add)

    def _add(self, parameter: Tensor) -> None:
        """Add a complete gradient to its sum, and free it."""
        self._sums[parameter].add_(parameter.grad)
        parameter.grad = None

    @contextmanager
    def of_step(self) -> Iterator[None]:
        """Sum the backward passes of one step, and reduce their mean over micro-batches at the end. Collective."""
        with self._engine.coalesce_grad_reduction():
            yield
            for parameter, total in self._sums.items():
                parameter.grad = total.div_(self._micro_batches).to(parameter.dtype)
                total.zero_()
