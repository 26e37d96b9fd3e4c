"""Muon: orthogonalised momentum for the matrices of hidden layers, AdamW for all other parameters.

Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024, https://kellerjordan.github.io/posts/muon/;
the implementation is that of DeepSpeed 0.19.8, whose ZeRO stages call it with whole matrices. A second door to
deepspeed: it imports the optimizer's class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lrps.base.errors import ConfigError
from lrps.engine.flat_pieces import FlatPiece, flat_weights
from lrps.engine.optimizers.adamw import zero_moments
from lrps.engine.optimizers.engine_optimizer import LR_RATIO, EngineOptimizer
from lrps.engine.optimizers.muon_gate import MuonGate
from lrps.engine.optimizers.parameter_groups import hidden_matrices, parameter_groups
from lrps.engine.setup.surroundings import surroundings_of_deepspeed
from lrps.paths.optimizer_states import OptimizerState, muon_states

with surroundings_of_deepspeed():
    from deepspeed.runtime.zero.muon import muon_optimizer, original_muon
    from deepspeed.runtime.zero.muon.muon_optimizer import MuonWithAuxAdam

_MOMENTUM = "momentum_buffer"
_TAG = "use_muon"
"""Attribute of parameters, and key of their groups, by which DeepSpeed knows matrices that Muon updates."""
_KERNELS = ("zeropower_via_newtonschulz5", "zeropower_via_gram_newtonschulz", "muon_update")

# DeepSpeed puts its kernels under torch.compile, which needs a C++ compiler, compiles for every shape, and may choose
# another kernel for the same shape in a process that resumes. Without it every process computes the same bits.
for _name in _KERNELS:
    _kernel = getattr(original_muon, _name)
    # torch returns the function itself where compilation is switched off.
    setattr(original_muon, _name, getattr(_kernel, "_torchdynamo_orig_callable", _kernel))
muon_optimizer.muon_update = original_muon.muon_update


class MuonOptimizer(EngineOptimizer):
    """Muon: one momentum for matrices, in the precision of gradients, and AdamW's state for the others.

    At ZeRO stages 1 and 2 a rank has the momentum of every matrix of which it has a part as a whole, and not in the
    layout of the weights: two ranks have that of a matrix at their border, equal to the bit.
    """

    torch_class = MuonWithAuxAdam

    @staticmethod
    def make(model: nn.Module, settings: Any) -> MuonWithAuxAdam:
        """Return the optimizer of a model, whose parameters are tagged for DeepSpeed. settings: a MuonConfig."""
        matrices = hidden_matrices(model)
        if not matrices:
            raise ConfigError(
                "optimizer.kind: the model has no weight matrices of linear layers beside its output head, which are "
                "all that Muon updates; take adamw or lion"
            )
        own = {id(parameter) for parameter in matrices}
        for parameter in model.parameters():
            setattr(parameter, _TAG, id(parameter) in own)
        groups = [
            {**group, "params": others, _TAG: False, "lr": 0.0, "betas": settings.betas, "eps": settings.eps}
            for group in parameter_groups(model, settings)
            if (others := [parameter for parameter in group["params"] if id(parameter) not in own])
        ]
        muon = {
            "params": matrices,
            _TAG: True,
            "lr": 0.0,
            LR_RATIO: settings.lr_ratio,
            "momentum": settings.momentum,
            "weight_decay": settings.decay_of_matrices,
            # The faster and more exact of DeepSpeed's iterations, which are equal but for rounding: fp16 on GPUs, where
            # the other one takes bf16, and fp32 on CPUs.
            "ns_method": "gram",
        }
        # With AdamW of torch as it updates everything elsewhere, and not with a loop in Python.
        return MuonWithAuxAdam([muon, *groups], torch.optim.AdamW, {"lr": 0.0, "fused": True})

    @staticmethod
    def deepspeed_settings(stage: int) -> dict[str, Any]:
        """Let stage 3 reduce gradients as a whole, without which it refuses Muon."""
        return {"zero_optimization": {"reduce_scatter": False}} if stage == 3 else {}

    def gate(self) -> MuonGate:
        """Return a new gate, which clips the gradients of the other parameters only."""
        return MuonGate(self.engine, self._are_matrices)

    def own_states(self) -> tuple[OptimizerState, ...]:
        """Return the momentum of matrices, and AdamW's moments of the others."""
        dtype = next(self.engine.module.parameters()).dtype
        return muon_states("bf16" if dtype == torch.bfloat16 else "fp32")

    @property
    def _are_matrices(self) -> list[bool]:
        """Whether each flat tensor of weights consists of matrices."""
        stage, zero = self.engine.zero_optimization_stage(), self.engine.optimizer
        if stage == 0:
            return [getattr(parameter, _TAG) for parameter in self.engine.module.parameters()]
        groups = zero.fp16_groups if stage == 3 else zero.bit16_groups
        return [getattr(group[0], _TAG) for group in groups]

    def make_state(self, flat: Tensor) -> dict[str, Any]:
        """Return a momentum of zeros, or AdamW's zero moments and step 0."""
        flats, zero = flat_weights(self.engine), self.engine.optimizer
        index = next(number for number, each in enumerate(flats) if each is flat)
        if not self._are_matrices[index]:
            return zero_moments(flat)
        stage = self.engine.zero_optimization_stage()
        numel = sum(p.numel() for p in zero.params_in_partition[index]) if stage in (1, 2) else flat.numel()
        dtype = next(self.engine.module.parameters()).dtype
        momentum = torch.zeros(numel, dtype=dtype, device=flat.device)
        return {_MOMENTUM: momentum if stage else momentum.view_as(flat)}

    @property
    def step(self) -> float:
        """Number of steps that AdamW has taken; Muon itself counts none."""
        return float(self._counting()[0]["step"])

    @step.setter
    def step(self, step: float) -> None:
        for state in self._counting():
            state["step"] = torch.full_like(state["step"], step)

    def _counting(self) -> list[dict[str, Any]]:
        """Return the states with a step count."""
        flats = zip(flat_weights(self.engine), self._are_matrices, strict=True)
        return [self.state_of(flat) for flat, is_matrix in flats if not is_matrix]

    def pieces_of(self, state: OptimizerState) -> Iterator[FlatPiece]:
        """Yield this rank's pieces of one state."""
        if state.kind == "whole" and self.engine.zero_optimization_stage() in (1, 2):
            return self._whole_matrices()
        return super().pieces_of(state)

    def _whole_matrices(self) -> Iterator[FlatPiece]:
        """Yield the momentum of every matrix of which this rank has a part. The rank with its beginning writes it."""
        names = {id(parameter): name for name, parameter in self.engine.module.named_parameters()}
        zero = self.engine.optimizer
        for flat, parameters, is_matrix in zip(
            flat_weights(self.engine), zero.params_in_partition, self._are_matrices, strict=True
        ):
            offset = 0
            for parameter in parameters if is_matrix else ():
                values = self.state_of(flat)[_MOMENTUM].narrow(0, offset, parameter.numel())
                begins_here = parameter._hp_mapping.lp_fragment_address.start == 0
                yield FlatPiece(_MOMENTUM, names[id(parameter)], 0, values, begins_here)
                offset += parameter.numel()
