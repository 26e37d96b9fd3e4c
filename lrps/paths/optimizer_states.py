"""States that the optimizer has beside the weights: their names in checkpoints, and the bytes that they take.

Imports no torch: the engine makes and saves these states, and forecasts of memory and disk count them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from lrps.config.averaging import AverageConfig
from lrps.config.extensions import OPTIMIZERS
from lrps.config.models import Config
from lrps.config.optimizing import DEFAULT_KIND

MAIN = "main"
"""Kind of the paths that have averages of their weights."""
OPTIMIZER = "optimizer"
"""Key of a checkpoint's identity with the kind of optimizer whose states it has; left out for AdamW."""
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


def adamw_states(precision: str) -> tuple[OptimizerState, ...]:
    """Return the states of AdamW."""
    del precision
    return MOMENTS


def muon_states(precision: str) -> tuple[OptimizerState, ...]:
    """Return the states of Muon: momentum of matrices in the precision of gradients, AdamW's moments of the others."""
    momentum = OptimizerState("momentum_buffer", "whole", _DTYPES[precision], "matrices")
    return (momentum, *(replace(moment, applies_to="others") for moment in MOMENTS))


def lion_states(precision: str) -> tuple[OptimizerState, ...]:
    """Return the states of Lion: one momentum."""
    del precision
    return (OptimizerState("exp_avg"),)


_DTYPES = {"fp32": "F32", "bf16": "BF16"}
_STATES: Mapping[str, Callable[[str], tuple[OptimizerState, ...]]] = {
    "adamw": adamw_states,
    "muon": muon_states,
    "lion": lion_states,
}
"""States by kind of optimizer, as a function of engine.precision."""


def states_of_kind(kind: str) -> Callable[[str], tuple[OptimizerState, ...]]:
    """Return the states of a kind of optimizer, built-in or of a plug-in, as a function of engine.precision."""
    plugin = OPTIMIZERS.find(kind)
    states: Callable[[str], tuple[OptimizerState, ...]] = _STATES[kind] if plugin is None else plugin.value.states
    return states


def averages(config: Config, kind: str) -> AverageConfig | None:
    """Return the averages of the weights of paths of a kind; None if they have none."""
    return config.average if kind == MAIN else None


def optimizer_states(config: Config, kind: str) -> tuple[OptimizerState, ...]:
    """Return the states of the optimizer of paths of a kind."""
    own = states_of_kind(config.optimizer.kind)(config.engine.precision)
    return own if averages(config, kind) is None else (*own, AVERAGE)


def optimizer_fact(kind: str) -> dict[str, str]:
    """Return what the identity of a checkpoint says about the kind of optimizer; nothing for AdamW."""
    return {} if kind == DEFAULT_KIND else {OPTIMIZER: kind}


def other_than_adamw(kind: str) -> str | None:
    """Return the kind of optimizer if it is another than AdamW, else None."""
    return None if kind == DEFAULT_KIND else kind


def optimizer_in(identity: Mapping[str, Any]) -> str:
    """Return the kind of optimizer whose states a checkpoint has. identity: that of the checkpoint."""
    return str(identity.get(OPTIMIZER, DEFAULT_KIND))


@dataclass(frozen=True)
class ParameterCount:
    """Number of parameters, and how many of them are in matrices that an optimizer may treat as such."""

    all: int
    matrices: int = 0
    """Number of elements of the weight matrices of linear layers, without an output head. 0 where they are not known:
    then Muon's states are counted as AdamW's, which are larger."""
    largest_matrix: int = 0

    def of(self, parameters: Parameters) -> int:
        """Return the number of elements of some parameters."""
        return {"all": self.all, "matrices": self.matrices, "others": self.all - self.matrices}[parameters]


def state_bytes(config: Config, kind: str, counted: ParameterCount) -> int:
    """Return the bytes that the optimizer's states of paths of a kind take, in a checkpoint and in memory."""
    return sum(state.bytes * counted.of(state.applies_to) for state in optimizer_states(config, kind))


def saved_bytes(config: Config, kind: str, counted: ParameterCount) -> int:
    """Return the bytes of a checkpoint of paths of a kind: the fp32 weights, and the states."""
    return WEIGHT_BYTES * counted.all + state_bytes(config, kind, counted)
