"""The optimizer of a running engine: its described states, the pieces of them on this rank, and its step count.

A kind of optimizer is a subclass. Gets the engine as an argument and must not import deepspeed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lrps.engine.flat_pieces import WEIGHTS, FlatPiece, WeightsPlace, flat_weights, weights_places
from lrps.engine.ranks import rank, world_size
from lrps.engine.update_gate import UpdateGate
from lrps.paths.optimizer_states import AVERAGE, OptimizerState

LR_RATIO = "lr_ratio"
"""Key of a group of parameters with its learning rate over that of the schedule; 1 for a group without it."""


class EngineOptimizer(ABC):
    """The optimizer of one engine, of one kind. No method is collective."""

    torch_class: ClassVar[type[torch.optim.Optimizer]]
    """Class of the optimizers that this kind makes, by which an engine's optimizer is recognised."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    @staticmethod
    @abstractmethod
    def make(model: nn.Module, settings: Any) -> torch.optim.Optimizer:
        """Return the optimizer of a model, whose learning rates are set before every step.

        A group with the key LR_RATIO has that multiple of the schedule's rate. settings: the `optimizer` section of the
        config. Raises ConfigError if the model does not suit the optimizer.
        """

    @staticmethod
    def deepspeed_settings(stage: int) -> dict[str, Any]:
        """Return settings of DeepSpeed that optimizers of this kind need at a ZeRO stage."""
        del stage
        return {}

    def gate(self) -> UpdateGate:
        """Return a new gate of the engine's steps."""
        return UpdateGate(self.engine)

    @abstractmethod
    def own_states(self) -> tuple[OptimizerState, ...]:
        """Return the states of the optimizer itself, without an average of the weights."""

    @abstractmethod
    def make_state(self, flat: Tensor) -> dict[str, Any]:
        """Return the state that the optimizer would create for a flat fp32 tensor at its first step."""

    @property
    @abstractmethod
    def step(self) -> float:
        """Number of steps that the optimizer has taken, by which it corrects the bias of its moments."""

    @step.setter
    @abstractmethod
    def step(self, step: float) -> None: ...

    def state_of(self, flat: Tensor) -> dict[str, Any]:
        """Return the state of a flat fp32 tensor, which is created if it does not exist yet."""
        state: dict[str, Any] = base_optimizer(self.engine).state[flat]
        if not state:
            state.update(self.make_state(flat))
        return state

    def states(self) -> tuple[OptimizerState, ...]:
        """Return all states beside the weights: those of the optimizer, and the average of the weights if any."""
        averaged = any(AVERAGE.name in self.state_of(flat) for flat in flat_weights(self.engine))
        return (*self.own_states(), AVERAGE) if averaged else self.own_states()

    def pieces(self) -> list[FlatPiece]:
        """Return this rank's pieces of the weights and of all states; states that do not exist yet are created."""
        weights = [
            FlatPiece(WEIGHTS, place.name, place.start, place.view(place.flat.data), written)
            for place, written in self._places()
        ]
        return weights + [piece for state in self.states() for piece in self.pieces_of(state)]

    def pieces_of(self, state: OptimizerState) -> Iterator[FlatPiece]:
        """Yield this rank's pieces of one state. Here it is laid out like the weights."""
        of_flat = {id(flat): self.state_of(flat) for flat in flat_weights(self.engine)}
        for place, written in self._places():
            if state.name in of_flat[id(place.flat)]:
                values = place.view(of_flat[id(place.flat)][state.name])
                yield FlatPiece(state.name, place.name, place.start, values, written)

    def _places(self) -> Iterator[tuple[WeightsPlace, bool]]:
        """Yield the places of weights, and whether this rank writes them: at stage 0 every rank has all of them."""
        everywhere = self.engine.zero_optimization_stage() == 0
        for index, place in enumerate(weights_places(self.engine)):
            yield place, not everywhere or index % world_size() == rank()

    def begin(self, state: OptimizerState) -> None:
        """Set the values with which a state begins: the weights for an average of them, zeros for all others."""
        if not state.averages_weights:
            for piece in self.pieces_of(state):
                piece.values.zero_()
            return
        for flat in flat_weights(self.engine):
            self.state_of(flat).setdefault(state.name, torch.empty_like(flat.data)).copy_(flat.data)

    def weights_and_averages(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the live fp32 tensors that the optimizer updates on this rank, each with its average."""
        return ((flat.data, self.state_of(flat)[AVERAGE.name]) for flat in flat_weights(self.engine))


def base_optimizer(engine: Any) -> torch.optim.Optimizer:
    """Return the optimizer that DeepSpeed's ZeRO wraps; at stage 0 the engine has it itself."""
    optimizer: torch.optim.Optimizer = (
        engine.optimizer if engine.zero_optimization_stage() == 0 else engine.optimizer.optimizer
    )
    return optimizer


def set_learning_rate(engine: Any, lr: float) -> None:
    """Set the learning rates of all groups of parameters for the next step. lr: rate of the schedule."""
    for group in engine.optimizer.param_groups:
        group["lr"] = lr * group.get(LR_RATIO, 1.0)
