"""The flat tensors in which DeepSpeed 0.19 stores this rank's fp32 weights, and the places of parameters in them.

Gets the engine as an argument and must not import deepspeed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrps.base.errors import ConfigError
from lrps.engine.ranks import failing_together, rank, world_size

WEIGHTS = "fp32"
"""Name of the fp32 weights among the states of a checkpoint."""
_PART = 2**20


@dataclass(frozen=True)
class FlatPiece:
    """A range of one flattened parameter in one state, which this rank has in memory."""

    state: str
    """Name of the state; WEIGHTS for the weights."""
    name: str
    """Name of the parameter."""
    start: int
    """Start of the range in the flattened parameter."""
    values: Tensor
    """1-D view of the live memory, in the type that the optimizer uses."""
    written: bool = True
    """Whether this rank writes the values; False where another rank has the same ones and writes them."""

    @property
    def stop(self) -> int:
        """End of the range."""
        return self.start + self.values.numel()


@dataclass(frozen=True)
class WeightsPlace:
    """The place of this rank's part of a parameter in a flat fp32 tensor."""

    name: str
    parameter: Any
    start: int
    """Start of the part in the flattened parameter."""
    flat: Tensor
    offset: int
    """Start of the part in the flat tensor."""
    numel: int

    def view(self, tensor: Tensor) -> Tensor:
        """Return the part in a tensor that has the layout of the flat one."""
        return tensor.view(-1).narrow(0, self.offset, self.numel)


def check_piece_names(engine: Any) -> None:
    """Check that each fp32 piece rounds to the weights of the parameter whose name it bears. Collective; one pass.

    Raises ConfigError on all ranks: DeepSpeed then trains correctly, but a checkpoint would store values under the
    names of other parameters.
    """
    if engine.zero_optimization_stage() == 0:  # The pieces are the parameters themselves.
        return
    with failing_together(), torch.no_grad():
        places = list(weights_places(engine))
        wrong = [
            f"{place.name}[{place.start}:{place.start + place.numel}]"
            for place in places
            if not _rounds_to(place.view(place.flat.data), _forward_weights(place))
        ]
        if wrong:
            raise ConfigError(
                f"DeepSpeed keeps other fp32 weights than those of {wrong[0]} under that name ({len(wrong)} of "
                f"{len(places)} pieces of this rank are misnamed), so that checkpoints would be wrong. Take "
                "out what `engine.deepspeed` sets; if it sets nothing, this is a defect of lrps: report it"
            )


def _forward_weights(place: WeightsPlace) -> Tensor:
    """Return the elements at a place as the forward pass uses them."""
    own = getattr(place.parameter, "ds_tensor", None)  # At stage 3 this rank's piece, padded at the end.
    data: Tensor = place.parameter.data if own is None else own.data
    return data.view(-1).narrow(0, place.start if own is None else 0, place.numel)


def _rounds_to(master: Tensor, weights: Tensor) -> bool:
    """Return True if fp32 values rounded to the type of `weights` equal them; NaN equals NaN."""
    # In parts that fit into a processor's cache, which takes half of the time and little memory.
    for some, expected in zip(master.split(_PART), weights.split(_PART), strict=True):
        rounded = some.to(expected.device, expected.dtype)
        if not (torch.equal(rounded, expected) or torch.allclose(rounded, expected, rtol=0, atol=0, equal_nan=True)):
            return False
    return True


_Found = tuple[int, Tensor, int, int]
"""(start in the parameter, flat fp32 tensor, offset in it, numel) of this rank's part of a parameter."""


def weights_places(engine: Any) -> Iterator[WeightsPlace]:
    """Yield the place of every parameter that this rank has a part of, in the order of parameters."""
    find = {0: _find_whole, 3: _find_partitioned}.get(engine.zero_optimization_stage(), _find_replicated)
    for name, parameter in engine.module.named_parameters():
        found = find(engine.optimizer, parameter)
        if found is not None:
            yield WeightsPlace(name, parameter, *found)


def _find_whole(_: Any, parameter: Any) -> _Found:
    return 0, parameter, 0, parameter.numel()


def _find_replicated(optimizer: Any, parameter: Any) -> _Found | None:
    """Return the place at stages 1 and 2, which divide a flat tensor of many parameters."""
    mapping = parameter._hp_mapping
    if mapping is None:
        return None
    here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
    return here.start, optimizer.single_partition_of_fp32_groups[mapping.param_group_index], there.start, here.numel


def _find_partitioned(optimizer: Any, parameter: Any) -> _Found | None:
    """Return the place at stage 3, which divides every parameter equally; the last parts may be short or empty."""
    group, offset, _ = optimizer.grad_position[optimizer.get_param_id(parameter)]
    share = math.ceil(parameter.ds_numel / world_size())
    start = rank() * share
    numel = min(share, parameter.ds_numel - start)
    return (start, optimizer.fp32_partitioned_groups_flat[group], offset, numel) if numel > 0 else None


def flat_weights(engine: Any) -> list[Tensor]:
    """Return the fp32 tensors that the optimizer updates on this rank."""
    stage = engine.zero_optimization_stage()
    if stage == 0:
        return list(engine.module.parameters())
    if stage == 3:
        return list(engine.optimizer.fp32_partitioned_groups_flat)
    return list(engine.optimizer.single_partition_of_fp32_groups)


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
