"""Check of a model that transformers has loaded: every weight came from the files, and no value is NaN or infinite.

transformers draws missing weights at random, ignores surplus ones, and leaves a head untied from its embedding where
the two differ, each with a warning at most.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lrps.base.errors import ConfigError

_NAMED = 5
"""Largest number of weights that a message names."""


def check_names(loading: Mapping[str, Any], where: str, *, surplus: bool = False) -> None:
    """Raise ConfigError if the names or shapes of the weights in the files are not those of the model.

    loading: the loading info of `from_pretrained`. where: the start of the message, with the directory.
    surplus: accept weights that the model does not have.
    """
    absent, more = loading["missing_keys"], loading["unexpected_keys"]
    if absent:
        only_head = not more and set(absent) == {"lm_head.weight"}
        fix = "if the embedding is also the output matrix, set tie_word_embeddings: true in config.json"
        raise ConfigError(f"{where} lacks weights: {_names(absent)}; {fix if only_head else 'use a whole model'}")
    if more and not surplus:
        raise ConfigError(
            f"{where} has weights that the model of its config.json does not have: {_names(more)}; correct the "
            "config (such as num_hidden_layers or tie_word_embeddings), or remove these weights"
        )
    for name, stored, wanted in loading["mismatched_keys"]:
        raise ConfigError(
            f"{where}: {name} has the shape {tuple(stored)} in the files and {tuple(wanted)} by config.json; give the "
            "config.json that belongs to the weights"
        )
    if failed := loading.get("error_msgs"):
        raise ConfigError(f"{where} cannot be loaded: {next(iter(failed))}")


def _names(names: Collection[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more


def value_faults(model: Any, where: str) -> Iterator[str]:
    """Yield a message for two parameters that differ though config.json ties them, and for values that are not finite.

    Reads every value once. where: the start of the message, with the directory.
    """
    for name, source in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        if model.get_parameter(name) is not model.get_parameter(source):
            yield untied_fault(where, name, source)
    for name, values in model.state_dict().items():
        if not is_finite(values):
            yield not_finite_fault(where, name)


def is_finite(values: Tensor) -> bool:
    """Return True if no value is NaN or infinite."""
    # aminmax takes a twentieth of the time of isfinite, and no memory.
    return not (values.is_floating_point() and values.numel()) or bool(
        torch.stack(torch.aminmax(values)).isfinite().all()
    )


def not_finite_fault(where: str, name: str) -> str:
    """Return the message for a weight with values that are not finite."""
    return f"{where}: {name} has values that are NaN or infinite; use a sound model"


def untied_fault(where: str, name: str, source: str) -> str:
    """Return the message for a weight that differs from `source`, with which the config ties it."""
    return (
        f"{where}: {name} differs from {source}, with which config.json ties it (tie_word_embeddings); set "
        f"tie_word_embeddings: false in config.json to train both, or remove {name} from the weights"
    )


def untie_as_stored(model: Any, stored: Collection[str]) -> None:
    """Untie parameters of a model without values, and its config, if a state has them apart.

    stored: names of the parameters of the state. transformers leaves a head untied whose values differ, which a run may
    have begun with.
    """
    for name, source in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        if name in stored:
            module, _, own = name.rpartition(".")
            setattr(model.get_submodule(module), own, nn.Parameter(torch.empty_like(model.get_parameter(source))))
            model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False
