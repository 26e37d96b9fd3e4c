"""The flat pieces in which DeepSpeed 0.19 stores this rank's part of the fp32 weights and optimizer states.

Gets the engine as an argument and must not import deepspeed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrps.base.errors import ConfigError
from lrps.engine.ranks import failing_together, rank, world_size
from lrps.paths import optimizer_states
from lrps.paths.optimizer_states import AVERAGE, OptimizerState

WEIGHTS = "fp32"
MOMENTS = tuple(state.name for state in optimizer_states.MOMENTS)
_PART = 2**20


@dataclass(frozen=True)
class FlatPiece:
    """A range of one flattened parameter that this rank owns. states: 1-D views of the live memory, by state."""

    name: str
    start: int
    states: Mapping[str, Tensor]

    @property
    def stop(self) -> int:
        """End of the range."""
        return self.start + self.states[WEIGHTS].numel()


def own_pieces(engine: Any) -> list[FlatPiece]:
    """Return the pieces of this rank in the order of parameters; Adam moments are created if they do not exist yet."""
    names = [state.name for state in states_of(engine)]
    of_flat = {id(flat): _adam_state(engine, flat) for flat in _flats(engine)}
    states = {key: {name: of_flat[key][name] for name in names} for key in of_flat}
    return [
        _piece(name, start, flat, states[id(flat)], offset, numel)
        for name, _, (start, flat, offset, numel) in _places(engine)
    ]


def check_piece_names(engine: Any) -> None:
    """Check that each fp32 piece rounds to the weights of the parameter whose name it bears. Collective; one pass.

    Raises ConfigError on all ranks: DeepSpeed then trains correctly, but a checkpoint would store values under the
    names of other parameters.
    """
    if engine.zero_optimization_stage() == 0:  # The pieces are the parameters themselves.
        return
    with failing_together(), torch.no_grad():
        pieces = list(_places(engine))
        wrong = [
            f"{name}[{start}:{start + numel}]"
            for name, parameter, (start, flat, offset, numel) in pieces
            if not _rounds_to(flat.data.view(-1).narrow(0, offset, numel), _forward_weights(parameter, start, numel))
        ]
        if wrong:
            raise ConfigError(
                f"DeepSpeed keeps other fp32 weights than those of {wrong[0]} under that name ({len(wrong)} of "
                f"{len(pieces)} pieces of this rank are misnamed), so that checkpoints would be wrong. Take "
                "out what `engine.deepspeed` sets; if it sets nothing, this is a defect of lrps: report it"
            )


def _forward_weights(parameter: Any, start: int, numel: int) -> Tensor:
    """Return elements of a parameter as the forward pass uses them. start: that of this rank's piece."""
    own = getattr(parameter, "ds_tensor", None)  # At stage 3 this rank's piece, padded at the end.
    data: Tensor = parameter.data if own is None else own.data
    return data.view(-1).narrow(0, start if own is None else 0, numel)


def _rounds_to(master: Tensor, weights: Tensor) -> bool:
    """Return True if fp32 values rounded to the type of `weights` equal them; NaN equals NaN."""
    # In parts that fit into a processor's cache, which takes half of the time and little memory.
    for some, expected in zip(master.split(_PART), weights.split(_PART), strict=True):
        rounded = some.to(expected.device, expected.dtype)
        if not (torch.equal(rounded, expected) or torch.allclose(rounded, expected, rtol=0, atol=0, equal_nan=True)):
            return False
    return True


_Place = tuple[int, Tensor, int, int]
"""(start in the parameter, flat fp32 tensor, offset in it, numel) of this rank's part of a parameter."""


def _places(engine: Any) -> Iterator[tuple[str, Any, _Place]]:
    """Yield (name, parameter, place) of every parameter that this rank has a part of, in the order of parameters."""
    find = {0: _find_whole, 3: _find_partitioned}.get(engine.zero_optimization_stage(), _find_replicated)
    for name, parameter in engine.module.named_parameters():
        place = find(engine.optimizer, parameter)
        if place is not None:
            yield name, parameter, place


def _find_whole(_: Any, parameter: Any) -> _Place:
    return 0, parameter, 0, parameter.numel()


def _find_replicated(optimizer: Any, parameter: Any) -> _Place | None:
    """Return the place at stages 1 and 2, which divide a flat tensor of many parameters."""
    mapping = parameter._hp_mapping
    if mapping is None:
        return None
    here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
    return here.start, optimizer.single_partition_of_fp32_groups[mapping.param_group_index], there.start, here.numel


def _find_partitioned(optimizer: Any, parameter: Any) -> _Place | None:
    """Return the place at stage 3, which divides every parameter equally; the last parts may be short or empty."""
    group, offset, _ = optimizer.grad_position[optimizer.get_param_id(parameter)]
    share = math.ceil(parameter.ds_numel / world_size())
    start = rank() * share
    numel = min(share, parameter.ds_numel - start)
    return (start, optimizer.fp32_partitioned_groups_flat[group], offset, numel) if numel > 0 else None


def _piece(name: str, start: int, flat: Tensor, states: Mapping[str, Tensor], offset: int, numel: int) -> FlatPiece:
    whole = {WEIGHTS: flat.data, **states}
    return FlatPiece(name, start, {state: tensor.view(-1).narrow(0, offset, numel) for state, tensor in whole.items()})


def _flats(engine: Any) -> list[Tensor]:
    """Return the fp32 tensors that Adam updates on this rank."""
    stage = engine.zero_optimization_stage()
    if stage == 0:
        return list(engine.module.parameters())
    if stage == 3:
        return list(engine.optimizer.fp32_partitioned_groups_flat)
    return list(engine.optimizer.single_partition_of_fp32_groups)


def _adam_state(engine: Any, flat: Tensor) -> dict[str, Tensor]:
    """Return Adam's state of a flat tensor; if there is none yet, create it as AdamW does at its first step."""
    adam = engine.optimizer if engine.zero_optimization_stage() == 0 else engine.optimizer.optimizer
    state = adam.state[flat]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=flat.device)
        for moment in MOMENTS:
            state[moment] = torch.zeros_like(flat.data)
    return state


def states_of(engine: Any) -> tuple[OptimizerState, ...]:
    """Return the states that the optimizer has beside the weights."""
    averaged = any(AVERAGE.name in _adam_state(engine, flat) for flat in _flats(engine))
    return (*optimizer_states.MOMENTS, AVERAGE) if averaged else optimizer_states.MOMENTS


def adam_step(engine: Any) -> float:
    """Return the number of steps that Adam has taken."""
    return float(_adam_state(engine, _flats(engine)[0])["step"])


def set_adam_step(engine: Any, step: float) -> None:
    """Set the number of steps that Adam has taken."""
    # A separate tensor for every state, since AdamW increments each one in place.
    for flat in _flats(engine):
        state = _adam_state(engine, flat)
        state["step"] = torch.full_like(state["step"], step)


def shapes_of(engine: Any) -> dict[str, list[int]]:
    """Return the shapes of whole parameters by name, in the model's order."""
    return {name: list(getattr(p, "ds_shape", p.shape)) for name, p in engine.module.named_parameters()}


def refresh_weights(engine: Any) -> None:
    """Derive the weights of forward passes from the fp32 ones. Collective."""
    stage, optimizer = engine.zero_optimization_stage(), engine.optimizer
    if stage in (1, 2):
        optimizer.update_lp_params()
    if stage == 3:
        # The prologue releases gathered parameters; the epilogue gathers the small, persistent ones again.
        optimizer.checkpoint_event_prologue()
        for index, flat in enumerate(optimizer.fp32_partitioned_groups_flat):
            low = optimizer.fp16_partitioned_groups_flat[index]
            low.data.copy_(flat.data)
            group = optimizer.fp16_partitioned_groups[index]
            for partition, view in zip(group, optimizer.unflatten(low, group), strict=True):
                partition.data = view.data
        optimizer.checkpoint_event_epilogue()


def begin_average(engine: Any) -> None:
    """Let the average of the weights begin as a copy of them; the optimizer has one from now on. Not collective."""
    for flat in _flats(engine):
        state = _adam_state(engine, flat)
        state.setdefault(AVERAGE.name, torch.empty_like(flat.data)).copy_(flat.data)


def weights_and_averages(engine: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the live fp32 tensors that Adam updates on this rank, each with its average."""
    return ((flat.data, _adam_state(engine, flat)[AVERAGE.name]) for flat in _flats(engine))
