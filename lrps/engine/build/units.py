"""The units of a model: the smallest sets of tensors that transformers initialises together.

Which tensors the initialisation of a module writes is found by trying it on the meta device, where writing counts up
the version of a tensor as well; no list of models is needed. Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lrps.engine.build.skeleton import Skeleton


class UnfitError(Exception):
    """Raised for a model type that cannot be built unit by unit, with the reason."""


@dataclass(frozen=True)
class Unit:
    """Tensors that are initialised, rounded and placed together: those of one module in most model types."""

    tensors: tuple[str, ...]
    """Names of its parameters and buffers, in the model's order."""
    modules: tuple[str, ...]
    """Names of the modules whose initialisation writes them, in the order in which transformers calls them."""


def find_units(trial: Skeleton) -> tuple[Unit, ...]:
    """Return the units of a model in the model's order.

    trial: a skeleton that is used for nothing else, because the trial leaves marks in it. Raises UnfitError if the
    initialisation of a module cannot be tried, or leaves out tensors whose values only a constructor sets.
    """
    try:
        wrote = _written(trial)
    except Exception as error:  # Whatever the code of a model type raises for tensors without values.
        raise UnfitError(f"its initialisation cannot be tried without values ({error})") from error
    own = {name: _own_tensors(name, module) for name, module in trial.model.named_modules()}
    _refuse_unwritten(trial, own, wrote)
    joined = _Joined(tensor for tensors in own.values() for tensor in tensors)
    for name, tensors in wrote.items():
        joined.join([*own[name], *tensors])
    callers: dict[str, list[str]] = {}
    for name, tensors in wrote.items():
        if tensors:
            callers.setdefault(joined.root(tensors[0]), []).append(name)
    return tuple(Unit(tuple(tensors), tuple(callers.get(root, ()))) for root, tensors in joined.groups().items())


def _written(trial: Skeleton) -> dict[str, list[str]]:
    """Return module -> names of the tensors in or below it that its initialisation writes."""
    from transformers.initialization import guard_torch_init_functions

    found = {}
    with torch.no_grad(), guard_torch_init_functions(), torch.device("meta"):
        for name, (module, governor) in trial.initialisers.items():
            before = {key: (tensor, tensor._version) for key, tensor in _tensors(module).items()}
            governor._init_weights(module)
            prefix = f"{name}." if name else ""
            found[name] = [
                prefix + key for key, tensor in _tensors(module).items() if _changed(tensor, before.get(key))
            ]
    return found


def _changed(tensor: torch.Tensor, before: tuple[torch.Tensor, int] | None) -> bool:
    return before is None or tensor is not before[0] or tensor._version != before[1]


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return dict([*module.named_parameters(), *module.named_buffers()])


def _own_tensors(name: str, module: nn.Module) -> list[str]:
    parameters = module.named_parameters(prefix=name, recurse=False)
    return [key for key, _ in (*parameters, *module.named_buffers(prefix=name, recurse=False))]


def _refuse_unwritten(trial: Skeleton, own: Mapping[str, Sequence[str]], wrote: Mapping[str, Sequence[str]]) -> None:
    written = {tensor for tensors in wrote.values() for tensor in tensors} | trial.ties.keys()
    left = [tensor for tensors in own.values() for tensor in tensors if tensor not in written]
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise UnfitError(f"its initialisation does not set {left[0]}{more}, only its constructor does")


class _Joined:
    """A partition of names: every name is on its own until it is joined with others (union-find)."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def root(self, name: str) -> str:
        """Return the name that identifies the group of `name`."""
        while self._parent[name] != name:
            self._parent[name] = name = self._parent[self._parent[name]]
        return name

    def join(self, names: Sequence[str]) -> None:
        """Make one group of the groups of these names."""
        for name in names[1:]:
            self._parent[self.root(name)] = self.root(names[0])

    def groups(self) -> dict[str, list[str]]:
        """Return root -> names of its group, in the order in which the names were given."""
        found: dict[str, list[str]] = {}
        for name in self._parent:
            found.setdefault(self.root(name), []).append(name)
        return found
