"""The values that a unit starts with: drawn from the seed, or placeholders of a state that is loaded later.

Values are always made on the CPU, whose generator gives the same numbers everywhere. Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from lrps.engine.build.skeleton import Skeleton
from lrps.engine.build.units import Unit
from lrps.engine.seeds import derived_seed

_BLOCK = 1_000_003
"""Number of different placeholder values. It is prime, so that rows of a matrix are not equal."""
_LARGEST_DRAWN = 1 << 16
"""Number of elements up to which placeholders are drawn as new weights are: norms and biases, but no matrices."""


class Values(Protocol):
    """A source of the initial values of a model."""

    def fill(self, skeleton: Skeleton, unit: Unit) -> None:
        """Set all tensors of a unit, which are fp32 on the CPU. Raises if one of them would stay without a value."""


class DrawnValues:
    """New weights: a function of the seed and of the name of the module that is initialised.

    They do not depend on the number of processes, the ZeRO stage, the order of units or the number of threads.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @torch.no_grad()
    def fill(self, skeleton: Skeleton, unit: Unit) -> None:
        """Set all tensors of a unit by the initialisation of transformers. The global random state is not changed.

        Raises RuntimeError for a tensor that is not set as a whole.
        """
        from transformers.initialization import guard_torch_init_functions

        for name in unit.tensors:
            tensor = skeleton.tensor(name)
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
        with guard_torch_init_functions(), torch.random.fork_rng(devices=[]):
            for name in unit.modules:
                module, governor = skeleton.initialisers[name]
                torch.default_generator.manual_seed(derived_seed(self._seed, name))
                governor._init_weights(module)
        for name in unit.tensors:
            if _has_nan(skeleton.tensor(name)):
                raise RuntimeError(f"{name}: transformers does not initialise all of it")


class PlaceholderValues:
    """Values of weights that a checkpoint replaces. Buffers are those of a new model.

    Large parameters are copies of one block of random values, at the cost of a copy in memory. So every check that runs
    the model before the checkpoint is loaded sees a model whose parts all have an effect.
    """

    def __init__(self, seed: int) -> None:
        self._drawn = DrawnValues(seed)
        generator = torch.Generator().manual_seed(0)
        self._block = torch.empty(_BLOCK).normal_(0.0, 0.02, generator=generator)

    @torch.no_grad()
    def fill(self, skeleton: Skeleton, unit: Unit) -> None:
        """Set all tensors of a unit."""
        parameters = [name for name in unit.tensors if isinstance(skeleton.tensor(name), torch.nn.Parameter)]
        small = all(skeleton.tensor(name).numel() <= _LARGEST_DRAWN for name in parameters)
        if small or len(parameters) < len(unit.tensors):
            self._drawn.fill(skeleton, unit)
            return
        for name in parameters:
            _repeat(self._block, derived_seed(0, name) % _BLOCK, skeleton.tensor(name))


def holds_buffers(skeleton: Skeleton, unit: Unit) -> bool:
    """Return True if a unit has a buffer, whose values every process needs."""
    return any(not isinstance(skeleton.tensor(name), torch.nn.Parameter) for name in unit.tensors)


def _repeat(block: Tensor, begin: int, tensor: Tensor) -> None:
    """Fill a tensor with copies of a block, starting within it, so that equal shapes get different values."""
    flat: Sequence[Tensor] = tensor.view(-1).split(len(block))
    rolled = block.roll(-begin)
    for part in flat:
        part.copy_(rolled[: len(part)])


def _has_nan(tensor: Tensor) -> bool:
    # aminmax takes no memory, and NaN is the least and the largest of values that have one.
    return tensor.is_floating_point() and bool(tensor.numel()) and bool(torch.aminmax(tensor).min.isnan())
