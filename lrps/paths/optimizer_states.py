"""States that the optimizer has beside the weights: their names in checkpoints, and the bytes that they take.

Imports no torch: the engine makes and saves these states, and forecasts of memory and disk count them.
"""

from __future__ import annotations

from dataclasses import dataclass

from lrps.config.averaging import AverageConfig
from lrps.config.models import Config

MAIN = "main"
"""Kind of the paths that have averages of their weights."""
WEIGHT_BYTES = 4
"""Bytes of a parameter's fp32 weight."""


@dataclass(frozen=True)
class OptimizerState:
    """A state that the optimizer has beside the weights: one value for each parameter."""

    name: str
    """Name in the files of a checkpoint, and in the optimizer's state."""
    bytes: int = 4
    """Bytes of the value of one parameter."""
    averages_weights: bool = False
    """True for an average of the weights. Such a state begins as a copy of them, also where a checkpoint has none,
    and `optimizer: reset` keeps it. The others begin as zeros, and a checkpoint must have them."""


MOMENTS = (OptimizerState("exp_avg"), OptimizerState("exp_avg_sq"))
"""Moments of Adam."""
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
