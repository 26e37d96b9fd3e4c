"""States that the optimizer has beside the weights: their names in checkpoints, and the bytes that they take.

Imports no torch: the engine makes and saves these states, and forecasts of memory and disk count them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lrps.config.averaging import AverageConfig
from lrps.config.models import Config

MAIN = "main"
"""Kind of the paths that have averages of their weights."""
WEIGHT_BYTES = 4
"""Bytes of a parameter's fp32 weight."""
DTYPE_BYTES = {"F32": 4, "BF16": 2}
"""Bytes of a value by type, as safetensors names it."""
StateKind = Literal["elementwise", "whole"]
"""How a state may be divided among processes. An `elementwise` state has one value for each weight and is cut like the
weights. A `whole` state has values for whole parameters, which the optimizer needs together: several processes may have
the same ones, and they are cut only to be stored."""
Parameters = Literal["all", "matrices", "others"]
"""Parameters that have a state: all of them, or those that the optimizer updates as matrices, or all but those."""


@dataclass(frozen=True)
class OptimizerState:
    """A state that the optimizer has beside the weights: one value for each element of the parameters that have it."""

    name: str
    """Name in the files of a checkpoint, and in the optimizer's state."""
    kind: StateKind = "elementwise"
    dtype: str = "F32"
    """Type of the values in memory and in a checkpoint, as safetensors names it: F32 or BF16."""
    applies_to: Parameters = "all"
    averages_weights: bool = False
    """True for an average of the weights. Such a state begins as a copy of them, also where a checkpoint has none,
    and `optimizer: reset` keeps it. The others begin as zeros, and a checkpoint must have them."""

    @property
    def bytes(self) -> int:
        """Number of bytes of one value."""
        return DTYPE_BYTES[self.dtype]


MOMENTS = (OptimizerState("exp_avg"), OptimizerState("exp_avg_sq"))
"""Moments of AdamW."""
AVERAGE = OptimizerState("ema", averages_weights=True)
"""Exponential moving average of the weights: `average.ema` of a config."""


def averages(config: Config, kind: str) -> AverageConfig | None:
    """Return the averages of the weights of paths of a kind; None if they have none."""
    return config.average if kind == MAIN else None


def optimizer_states(config: Config, kind: str) -> tuple[OptimizerState, ...]:
    """Return the states of the optimizer of paths of a kind."""
    return MOMENTS if averages(config, kind) is None else (*MOMENTS, AVERAGE)


def state_bytes(config: Config, kind: str) -> int:
    """Return the bytes that the optimizer's states of paths of a kind take for each parameter."""
    return sum(state.bytes for state in optimizer_states(config, kind))


def saved_bytes(config: Config, kind: str) -> int:
    """Return the bytes of a checkpoint of paths of a kind for each parameter: its fp32 weight, and its states."""
    return WEIGHT_BYTES + state_bytes(config, kind)
