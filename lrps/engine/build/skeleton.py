"""A transformers model on the meta device: names and shapes without memory, and which parameters are tied.

Ties are resolved last, because the initialisation of a tied output layer would overwrite the embedding. Must not import
deepspeed. Imports transformers when a model is built, because that takes seconds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lrps.engine.padding import NO_TOKEN, drop_padding, needs_padding_token, train_padding_rows


@dataclass(frozen=True)
class Skeleton:
    """An untied PreTrainedModel whose tensors take no memory until they are set."""

    model: Any
    ties: Mapping[str, str]
    """Name of a tied parameter -> name of the parameter that it is tied to."""

    @cached_property
    def initialisers(self) -> Mapping[str, tuple[nn.Module, Any]]:
        """Mapping from module name to (module, PreTrainedModel whose `_init_weights` initialises it).

        In the order in which transformers initialises: children first. A module that several others share is listed
        once.
        """
        return {name: (module, governor) for name, module, governor in _walk("", self.model, self.model, set())}

    def tensor(self, name: str) -> Tensor:
        """Return the parameter or buffer with this name."""
        owner, leaf = self._place(name)
        tensor: Tensor = getattr(owner, leaf)
        return tensor

    def set_tensor(self, name: str, values: Tensor) -> Tensor:
        """Set the values of a parameter or buffer in memory of its own, and return it as the model has it.

        A parameter becomes another object, because one on the meta device cannot get memory.
        """
        owner, leaf = self._place(name)
        if (before := owner._parameters.get(leaf)) is None:
            owner._buffers[leaf] = values
            return values
        parameter = nn.Parameter(values, requires_grad=before.requires_grad)
        parameter.__dict__.update(before.__dict__)  # Marks of transformers, such as those for weight decay.
        owner._parameters[leaf] = parameter
        return parameter

    def tie(self) -> None:
        """Let every tied parameter be the one that it is tied to."""
        for name, source in self.ties.items():
            owner, leaf = self._place(name)
            owner._parameters[leaf] = self.model.get_parameter(source)

    def _place(self, name: str) -> tuple[nn.Module, str]:
        owner, _, leaf = name.rpartition(".")
        return self.model.get_submodule(owner), leaf


def make_skeleton(config: Any, *, keeps_padding: bool = False, redraws_padding: bool = True) -> Skeleton:
    """Return the skeleton of a transformers config, in fp32; the config is not changed.

    keeps_padding: keep the padding rows of transformers, as runs do that were begun with them. redraws_padding: build
    from a config without a padding token, as new weights are drawn; otherwise the config keeps it and all rows are
    trained, as with the weights of a checkpoint. Raises whatever transformers raises.
    """
    config = copy.deepcopy(config)
    if not keeps_padding and redraws_padding:
        drop_padding(config)
        if needs_padding_token(_on_meta(config).model):
            drop_padding(config, NO_TOKEN)
    skeleton = _on_meta(config)
    if not keeps_padding:
        train_padding_rows(skeleton.model, redraw=False)
    return skeleton


def _on_meta(config: Any) -> Skeleton:
    from transformers import AutoModelForCausalLM
    from transformers.initialization import meta_device_safe_creation_ops, no_tie_weights

    with torch.random.fork_rng(devices=[]), torch.device("meta"), no_tie_weights(), meta_device_safe_creation_ops():
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=torch.float32)
    return Skeleton(model, dict(model.all_tied_weights_keys))


def _walk(prefix: str, module: nn.Module, governor: Any, seen: set[nn.Module]) -> Iterator[tuple[str, nn.Module, Any]]:
    """Yield (name, module, the PreTrainedModel that initialises it) in the order of `initialize_weights`."""
    from transformers import PreTrainedModel

    if module in seen:
        return
    seen.add(module)
    for name, child in module.named_children():
        governs = child if isinstance(child, PreTrainedModel) else governor
        yield from _walk(f"{prefix}.{name}" if prefix else name, child, governs, seen)
    yield prefix, module, governor
