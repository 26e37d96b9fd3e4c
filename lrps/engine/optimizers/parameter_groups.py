"""Groups of a model's parameters that an optimizer treats differently: by weight decay, and matrices apart."""

from __future__ import annotations

from typing import Any

from torch import nn

from lrps.config.optimizing import Regularized


def parameter_groups(model: nn.Module, optimizer: Regularized) -> list[dict[str, Any]]:
    """Return the parameter groups of a model: with weight decay, then without (`no_weight_decay`); none is empty.

    Within a group the order is that of `model.named_parameters()`. An output head counts as an embedding only if it is
    tied to one.
    """
    spared = {
        id(parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if _kinds(module, name) & set(optimizer.no_weight_decay)
    }
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if id(p) not in spared], "weight_decay": optimizer.weight_decay},
        {"params": [p for p in model.parameters() if id(p) in spared], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _kinds(module: nn.Module, name: str) -> set[str]:
    """Return the kinds of a module's own parameter, as `no_weight_decay` names them."""
    kinds = set()
    if "norm" in type(module).__name__.lower():
        kinds.add("norms")
    if name.endswith("bias"):
        kinds.add("biases")
    if isinstance(module, nn.Embedding):
        kinds.add("embeddings")
    return kinds


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the weight matrices of the linear layers of a model, in its order, without an output head.

    A tied output head is an embedding. Parameters of other modules are none of these, whatever their shape: experts
    that are stored as one tensor, the recurrent weights of state-space layers, the transposed layers of GPT-2.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    others = {id(p) for module in model.modules() if not _is_linear(module) for p in module.parameters(recurse=False)}
    others |= {id(head.weight)} if head is not None else set()
    linear = {id(module.weight) for module in model.modules() if _is_linear(module)}
    return [p for p in model.parameters() if id(p) in linear - others and p.requires_grad]


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)
