"""Lion: the sign of an interpolated momentum as the update (Chen et al., Symbolic Discovery of Optimization Algorithms,
NeurIPS 2023, algorithm 2). Its only state is one momentum for each weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lrps.engine.optimizers.engine_optimizer import EngineOptimizer
from lrps.engine.optimizers.parameter_groups import parameter_groups
from lrps.paths.optimizer_states import OptimizerState, lion_states

_MOMENTUM = "exp_avg"
_CHUNK = 2**24
"""Number of elements that are updated at a time, which bounds the temporary memory."""


class Lion(torch.optim.Optimizer):
    """Lion with decoupled weight decay. Every operation works element by element: the bits of an update do not depend
    on how the weights are divided among processes."""

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": 0.0, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update the parameters that have gradients."""
        assert closure is None, "the gradients are there before the step"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state = self.state[parameter]
                    if not state:
                        state[_MOMENTUM] = torch.zeros_like(parameter)
                    tensors = (parameter.data, parameter.grad, state[_MOMENTUM])
                    chunks = (tensor.reshape(-1).split(_CHUNK) for tensor in tensors)
                    for weights, gradient, momentum in zip(*chunks, strict=True):
                        _update(weights, gradient, momentum, group)


def _update(weights: Tensor, gradient: Tensor, momentum: Tensor, group: dict[str, Any]) -> None:
    """Update weights and momentum, which are views of the live memory."""
    direction, remembered = group["betas"]
    update = momentum.lerp(gradient, 1 - direction).sign_()
    weights.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])
    momentum.lerp_(gradient, 1 - remembered)


class LionOptimizer(EngineOptimizer):
    """Lion: one momentum with the layout of the weights. It corrects no bias, so it needs no step count."""

    torch_class = Lion

    @staticmethod
    def make(model: nn.Module, settings: Any) -> Lion:
        """Return the optimizer of a model. settings: a LionConfig."""
        return Lion(parameter_groups(model, settings), settings.betas)

    @staticmethod
    def deepspeed_settings(stage: int) -> dict[str, Any]:
        """Let DeepSpeed take an optimizer that it does not know."""
        return {"zero_allow_untested_optimizer": True} if stage else {}

    def own_states(self) -> tuple[OptimizerState, ...]:
        """Return the momentum."""
        return lion_states("fp32")

    def make_state(self, flat: Tensor) -> dict[str, Any]:
        """Return a momentum of zeros."""
        return {_MOMENTUM: torch.zeros_like(flat.data)}

    @property
    def step(self) -> float:
        """0: Lion counts no steps."""
        return 0.0

    @step.setter
    def step(self, step: float) -> None:
        del step
