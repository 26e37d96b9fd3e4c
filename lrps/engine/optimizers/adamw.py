"""AdamW: decoupled weight decay (Loshchilov and Hutter 2019), by torch's fused kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lrps.engine.flat_pieces import flat_weights
from lrps.engine.optimizers.engine_optimizer import EngineOptimizer
from lrps.engine.optimizers.parameter_groups import parameter_groups
from lrps.paths.optimizer_states import MOMENTS, OptimizerState


class AdamWOptimizer(EngineOptimizer):
    """AdamW: two moments with the layout of the weights, and a step count for each flat tensor."""

    torch_class = torch.optim.AdamW

    @staticmethod
    def make(model: nn.Module, settings: Any) -> torch.optim.AdamW:
        """Return the optimizer of a model. settings: an AdamWConfig."""
        groups = parameter_groups(model, settings)
        return torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, eps=settings.eps, fused=True)

    def own_states(self) -> tuple[OptimizerState, ...]:
        """Return both moments."""
        return MOMENTS

    def make_state(self, flat: Tensor) -> dict[str, Any]:
        """Return zero moments and step 0."""
        return zero_moments(flat)

    @property
    def step(self) -> float:
        """Number of steps that the optimizer has taken."""
        return float(self.state_of(flat_weights(self.engine)[0])["step"])

    @step.setter
    def step(self, step: float) -> None:
        # A separate tensor for every state, since AdamW increments each one in place.
        for flat in flat_weights(self.engine):
            state = self.state_of(flat)
            state["step"] = torch.full_like(state["step"], step)


def zero_moments(flat: Tensor) -> dict[str, Any]:
    """Return the state of torch's fused AdamW before its first step."""
    step = torch.zeros((), dtype=torch.float32, device=flat.device)
    return {"step": step, **{moment.name: torch.zeros_like(flat.data) for moment in MOMENTS}}
