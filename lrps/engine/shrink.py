"""Small copies of a transformers config: the same kinds of layers, heads and experts, with least widths.

The copy is what a model is examined on before the real one is built. All widths are divided by one number, so that
sizes that divide each other still do; layers are the shortest prefix with one layer of every kind. Imports transformers
through the config alone. Must not import deepspeed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

_LAYERS = re.compile(r"^(num_hidden_layers|n_layers?|num_layers|num_blocks|(num_)?(en|de)coder_layers|depth)$")
"""Keys with the number of layers of a stack; lists of this length, and strings, have one entry for each layer."""
_WIDTHS = re.compile(
    r"(hidden_size|_dim|_dims|dim_ff|dim_head|_rank|intermediate_size|_size_mlp|head_size|embedding_size|inner_size"
    r"|state_size|feed_forward_size|d_model|d_ff|d_kv|d_head|d_inner|d_state|d_ssm|n_embd|n_inner|_width|headdim"
    r"|kv_channels|lowrank|^dff|^dim|hidden_size_global|size_per_layer_input)$"
)
_NO_WIDTHS = re.compile(r"vocab|window|chunk|conv|kernel|patch|image|block|chunk|group_size|stride|^num_|token")
_VOCABULARY = re.compile(r"(^|_)vocab_size(_|$)")
_RANDOM = re.compile(r"drop")
_LEAST_WIDTH = 4
_LEAST_VOCABULARY = 128
_DIVISORS = (64, 32, 16, 8, 4, 2, 1)


def shrunken(config: Any, layers: int) -> Iterator[dict[str, Any]]:
    """Yield the values of copies of a config without dropout, the smallest first; a trial shows which can be built.

    layers: number of layers to keep (`layers_of_all_kinds`). The last copy has the widths of the config.
    """
    for divisor in _DIVISORS:
        yield _shrunken(config.to_dict(), divisor, layers)


def layers_of_all_kinds(config: Any, model: nn.Module) -> int:
    """Return the length of the shortest prefix of layers that has every kind of layer of a model, at least 1.

    A kind is the class of a layer with the names and shapes of its parameters, and its entry in every list of the
    config that has one for each layer. model: built from `config`; it may be on the meta device.
    """
    lists = [each for values in _mappings(config.to_dict()) for each in _per_layer(values)]
    longest = 1
    for stack in (module for module in model.modules() if isinstance(module, nn.ModuleList)):
        entries = [each for each in lists if len(each) == len(stack)]
        kinds = [(_structure(layer), *(repr(each[i]) for each in entries)) for i, layer in enumerate(stack)]
        longest = max(longest, *(kinds.index(kind) + 1 for kind in kinds), 1)
    return longest


def _structure(layer: nn.Module) -> tuple[Any, ...]:
    return (type(layer), *((name, tuple(values.shape)) for name, values in layer.named_parameters()))


def _mappings(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a config as JSON values and all configs within it."""
    yield values
    for key, value in values.items():
        if isinstance(value, Mapping) and key != "id2label":
            yield from _mappings(value)


def _depths(values: Mapping[str, Any]) -> set[int]:
    return {value for key, value in values.items() if _LAYERS.match(str(key)) and isinstance(value, int)}


def _per_layer(values: Mapping[str, Any]) -> list[Any]:
    depths = _depths(values)
    lists = [value for value in values.values() if isinstance(value, list | tuple) and len(value) in depths]
    return [each for each in lists if len(set(map(repr, each))) < len(each)]  # Others are lists of layer numbers.


def _shrunken(values: Mapping[str, Any], divisor: int, layers: int) -> dict[str, Any]:
    depths = {depth for depth in _depths(values) if depth > layers}
    if values and all(str(key).isdigit() for key in values):  # Settings of single layers, by number.
        values = {key: value for key, value in values.items() if int(key) < layers}
    return {key: _value(str(key), value, divisor, layers, depths) for key, value in values.items()}


def _value(key: str, value: Any, divisor: int, layers: int, depths: set[int]) -> Any:
    if isinstance(value, Mapping):
        return value if key == "id2label" else _shrunken(value, divisor, layers)
    if isinstance(value, list | tuple):
        if len(value) in depths:
            return list(value)[:layers]
        if re.search(r"_factor$|_section$|_embds_dim$", key):
            return _shrunken_list(key, value, divisor)
        return list(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float) and _RANDOM.search(key):
        return 0.0
    if not isinstance(value, int):
        return value
    if _LAYERS.match(key):
        return min(value, layers)
    if _VOCABULARY.search(key):
        return min(value, _LEAST_VOCABULARY)
    if _WIDTHS.search(key) and not _NO_WIDTHS.search(key):
        return max(value // divisor, min(value, _LEAST_WIDTH))
    return value


def _shrunken_list(key: str, values: Any, divisor: int) -> list[Any]:
    """Return a list of rotary positions for smaller heads: factors, one for each pair, or numbers of pairs."""
    if key.endswith("_factor"):
        return list(values)[: max(len(values) // divisor, 1)]
    return [max(value // divisor, 1) for value in values]
