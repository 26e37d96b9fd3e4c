"""A model made of its units, one after the other: memory, values, placement. Must not import deepspeed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from lrps.engine.build.placement import Placement
from lrps.engine.build.skeleton import Skeleton
from lrps.engine.build.units import Unit
from lrps.engine.build.values import Values, holds_buffers
from lrps.engine.ranks import failing_together


def assemble(skeleton: Skeleton, units: Iterable[Unit], values: Values, placement: Placement) -> Any:
    """Give the tensors of a skeleton memory and values, unit by unit, and return its model.

    A process has at most one unit in fp32 in host memory, besides what `placement` keeps there. Collective: the first
    error of `values` is raised on all ranks, after the last unit, as others wait for the parameters of every unit.
    """
    first = _FirstError(values)
    for unit in units:
        if not all(name in skeleton.ties for name in unit.tensors):
            placement.take(_filled(skeleton, unit, first, placement))
            _move_buffers(skeleton, unit, placement)
    with failing_together():
        if first.error is not None:
            raise first.error
    skeleton.tie()
    return skeleton.model


class _FirstError:
    """Values whose first error is kept; tensors from there on have the content of the memory that they are in."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self.error: Exception | None = None

    def fill(self, skeleton: Skeleton, unit: Unit) -> None:
        """Set all tensors of a unit, unless an earlier one has failed."""
        if self.error is not None:
            return
        try:
            self._values.fill(skeleton, unit)
        except Exception as error:
            self.error = error


def _filled(skeleton: Skeleton, unit: Unit, values: Values, placement: Placement) -> list[nn.Parameter]:
    """Return the parameters of a unit that are not tied, with values if this process makes them."""
    fills = placement.fills or holds_buffers(skeleton, unit)
    for name in unit.tensors:
        tensor = skeleton.tensor(name)
        skeleton.set_tensor(name, torch.empty_like(tensor, device="cpu") if fills else placement.empty(tensor))
    if fills:
        values.fill(skeleton, unit)
    tensors = [skeleton.tensor(name) for name in unit.tensors if name not in skeleton.ties]
    return [tensor for tensor in tensors if isinstance(tensor, nn.Parameter)]


def _move_buffers(skeleton: Skeleton, unit: Unit, placement: Placement) -> None:
    for name in unit.tensors:
        tensor = skeleton.tensor(name)
        if not isinstance(tensor, nn.Parameter):
            skeleton.set_tensor(name, tensor.to(placement.device))
