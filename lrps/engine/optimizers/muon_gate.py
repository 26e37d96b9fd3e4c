"""The gate of Muon's steps: the norm of the gradients, not of updates, and clipping of AdamW's part alone.

DeepSpeed 0.19.8 orthogonalises before it computes the norm, so its norm is that of Muon's update, about the root of the
ranks of all matrices, and its clipping would scale that update. Here the norm is that of all gradients, as for other
optimizers, and gradients of parameters that are no matrices are clipped to their own norm. Matrices need no clipping:
their update does not depend on the size of the gradient but through the momentum.

Gets the engine as an argument and must not import deepspeed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lrps.engine.update_gate import UpdateGate


class MuonGate(UpdateGate):
    """The gate of one DeepSpeed engine whose optimizer is Muon."""

    def __init__(self, engine: Any, are_matrices: Sequence[bool]) -> None:
        """are_matrices: for each flat tensor of weights (at stage 0, for each parameter) whether Muon updates it."""
        self._are_matrices = are_matrices
        self._clip = 0.0
        self._squares: dict[int, Tensor] = {}
        """Sum of squares of this rank's gradients of matrices, by group, at stages 1 and 2."""
        super().__init__(engine)

    def _wrap_norm(self, stage: int, optimizer: Any) -> None:
        if stage in (1, 2):
            flatten = optimizer.get_flat_partition

            def measured(parameters: Sequence[Tensor], first: int, size: int, *args: Any, **kwargs: Any) -> Any:
                group = kwargs["param_group_idx"]
                if self._are_matrices[group]:  # Its gradients are overwritten with the update.
                    self._squares[group] = _squares(optimizer.all_grad_tensors[group], int(first), int(size))
                return flatten(parameters, first, size, *args, **kwargs)

            optimizer.get_flat_partition = measured
            optimizer.scaled_global_norm = self._norm_of_partitions
            super()._wrap_norm(stage, optimizer)
        elif stage == 3:
            self._orthogonalize, self._norms_of_groups = (
                optimizer._apply_muon_to_accumulated_grads,
                optimizer._get_norm_groups,
            )
            optimizer._apply_muon_to_accumulated_grads = self._orthogonalize_unless_dropped
            optimizer._get_norm_groups = lambda: self._groups

    def _set_clip(self, clip: float) -> None:
        self._clip = clip
        super()._set_clip(0.0)

    def drops(self, norm: float) -> bool:
        """Return True if the step passes without an update; otherwise clip. For stage 0."""
        if super().drops(norm):
            return True
        if self._clip and math.isfinite(norm):
            parameters = zip(self._engine.module.parameters(), self._are_matrices, strict=True)
            others = [parameter for parameter, is_matrix in parameters if not is_matrix]
            torch.nn.utils.clip_grad_norm_(others, self._clip)
        return False

    def _norm_of_partitions(self) -> Tensor:
        """Return the norm of all gradients at stages 1 and 2, infinite if one or an update is not finite; clip."""
        zero = self._engine.optimizer
        groups = range(len(self._are_matrices))
        norms = [zero.get_grad_norm_direct(zero.averaged_gradients[i], zero.params_in_partition[i]) for i in groups]
        squares = torch.stack([self._squares.get(i, torch.zeros_like(norms[i], dtype=torch.float64)) for i in groups])
        dist.all_reduce(squares, group=zero.dp_process_group)
        self._clip_others(norms, zero.averaged_gradients)
        given = [squares[i].sqrt().float() if matrix else norms[i] for i, matrix in enumerate(self._are_matrices)]
        return _joined([*given, *(norm.clamp(max=0) for norm in norms)])

    def _orthogonalize_unless_dropped(self) -> None:
        """Let stage 3 orthogonalise, which changes the momentum, unless the step is to pass without an update."""
        groups = self._judged_groups(self._norms_of_groups())
        if math.isfinite(float(_joined(groups))):
            self._orthogonalize()
            updates = self._norms_of_groups()
            self._clip_others(updates, self._engine.optimizer.averaged_gradients)
            if not math.isfinite(float(_joined(updates))):
                groups = [torch.full_like(group, math.inf) for group in groups]
        self._groups = groups

    def _clip_others(self, norms: Sequence[Tensor], gradients: Any) -> None:
        """Scale the gradients of parameters that are no matrices, if their norm is above the limit."""
        others = [number for number, is_matrix in enumerate(self._are_matrices) if not is_matrix]
        if not self._clip:
            return
        # As DeepSpeed clips.
        scale = ((_joined([norms[number] for number in others]) + 1e-6) / self._clip).clamp(min=1.0)
        for gradient in (each for number in others for each in gradients[number]):
            gradient.mul_(1.0 / scale)


def _joined(norms: Sequence[Tensor]) -> Tensor:
    """Return the norm of parts of which the norms are given; infinite if one is not finite. DeepSpeed gives -1 then."""
    stacked = torch.stack([norm.float() for norm in norms])
    bad = ((stacked < 0) | ~torch.isfinite(stacked)).any()
    return torch.where(bad, math.inf, torch.linalg.vector_norm(stacked))


def _squares(gradients: Sequence[Tensor], first: int, size: int) -> Tensor:
    """Return the sum of squares of this rank's elements of whole gradients, in fp64.

    first: start of the rank's elements in the first gradient. size: number of the rank's elements.
    """
    total = torch.zeros((), dtype=torch.float64, device=gradients[0].device)
    for gradient in gradients:
        own = gradient.reshape(-1)[first : first + size]
        total += torch.linalg.vector_norm(own, dtype=torch.float64).square()
        first, size = 0, size - own.numel()
    return total
