"""Check of a model that transformers has loaded: every weight came from the files, and no value is NaN or infinite.

transformers draws missing weights at random, ignores surplus ones, and leaves a head untied from its embedding where
the two differ, each with a warning at most.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from lrps.base.errors import ConfigError

_NAMED = 5
"""Largest number of weights that a message names."""


def check_loaded(model: Any, loading: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError if the model differs from its files. loading: the loading info of `from_pretrained`.

    where: the start of the message, with the directory. Reads every value once.
    """
    absent, surplus = loading["missing_keys"], loading["unexpected_keys"]
    if absent:
        only_head = not surplus and set(absent) == {"lm_head.weight"}
        fix = "if the embedding is also the output matrix, set tie_word_embeddings: true in config.json"
        raise ConfigError(f"{where} lacks weights: {_names(absent)}; {fix if only_head else 'use a whole model'}")
    if surplus:
        raise ConfigError(
            f"{where} has weights that the model of its config.json does not have: {_names(surplus)}; correct the "
            "config (such as num_hidden_layers or tie_word_embeddings), or remove these weights"
        )
    for name, stored, wanted in loading["mismatched_keys"]:
        raise ConfigError(
            f"{where}: {name} has the shape {tuple(stored)} in the files and {tuple(wanted)} by config.json; give the "
            "config.json that belongs to the weights"
        )
    if failed := loading.get("error_msgs"):
        raise ConfigError(f"{where} cannot be loaded: {next(iter(failed))}")
    _refuse_untied(model, where)
    _refuse_non_finite(model, where)


def _names(names: Collection[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more


def _refuse_untied(model: Any, where: str) -> None:
    """Raise ConfigError if two parameters are equal by the config and differ in the files."""
    for name, source in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        if model.get_parameter(name) is not model.get_parameter(source):
            raise ConfigError(
                f"{where}: {name} differs from {source}, with which config.json ties it (tie_word_embeddings); set "
                f"tie_word_embeddings: false in config.json to train both, or remove {name} from the weights"
            )


def _refuse_non_finite(model: Any, where: str) -> None:
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise ConfigError(f"{where}: {name} has values that are NaN or infinite; use a sound model")
