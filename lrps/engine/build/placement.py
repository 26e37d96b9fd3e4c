"""Placement of the parameters of a model, unit by unit, before DeepSpeed takes the model over.

Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lrps.config.models import EngineConfig

Partition = Callable[[Sequence[nn.Parameter]], None]
"""Function that keeps this rank's part of whole parameters. Collective: rank 0 gives the values."""


@dataclass(frozen=True)
class Placement:
    """The device, the type and the parts in which a process keeps the parameters of a model."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    """Type of the parameters that forward passes use. Buffers keep theirs."""
    fills: bool = True
    """Whether this process makes the values. The others get them from it, and make only those of buffers."""
    partition: Partition | None = None
    """Function that divides parameters among the ranks; None if every rank keeps them whole."""

    def empty(self, like: Tensor) -> Tensor:
        """Return memory for a parameter whose values another process makes."""
        return torch.empty(like.shape, dtype=self._dtype_of(like), device=self.device)

    @torch.no_grad()
    def take(self, parameters: Sequence[nn.Parameter]) -> None:
        """Round parameters, move them to the device and divide them. Collective if they are divided."""
        for parameter in parameters:
            parameter.data = parameter.data.to(self.device, self._dtype_of(parameter))
        if self.partition is not None and parameters:
            self.partition(parameters)

    def _dtype_of(self, tensor: Tensor) -> torch.dtype:
        return self.dtype if tensor.is_floating_point() else tensor.dtype


class ZeroPartition:
    """Division of parameters as ZeRO-3 keeps them: rank 0 gives the values, and every rank keeps its part.

    One object of DeepSpeed divides all parameters of a model, because each one creates process groups.
    """

    def __init__(self, zero_init: Callable[..., Any], dtype: torch.dtype) -> None:
        """zero_init: `deepspeed.zero.Init` with the settings of the engine. dtype: that of the parameters."""
        self._zero_init, self._dtype = zero_init, dtype
        self._first: Any = None

    def __call__(self, parameters: Sequence[nn.Parameter]) -> None:
        """Divide the parameters. Collective."""
        if self._first is None:
            self._first = parameters[0]
            self._zero_init(module=nn.ParameterList(parameters), dtype=self._dtype)
        else:
            self._first.convert_to_zero_parameters(param_list=parameters)


def placement_for(engine: EngineConfig, rank: int, zero_init: Callable[..., Any]) -> Placement:
    """Return where a rank keeps the parameters of a model. zero_init: as for `ZeroPartition`."""
    on_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if engine.precision == "bf16" else torch.float32
    return Placement(
        torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu"),
        dtype,
        fills=rank == 0,
        partition=ZeroPartition(zero_init, dtype) if engine.zero_stage == 3 else None,
    )
