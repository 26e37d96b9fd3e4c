"""The architecture of a model as transformers' config object, and checks for keys that would have no effect.

transformers keeps unknown keys as attributes that nothing reads, so that a typo trains another model than was meant.
Only config classes are used, and no model is built. Imports transformers when called, because that takes seconds.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError

_WHERE = "model.architecture"
# Accepted by transformers 5 in place of rope_parameters, though no config class lists them.
_ROPE_ALIASES = ("rope_theta", "rope_scaling")
_BOOKKEEPING = ("transformers_version", "_name_or_path", "architectures")
"""Keys that every config class has and that change no model; never what a typo means."""


def architecture_config(architecture: Mapping[str, Any]) -> Any:
    """Return transformers' config of a causal language model; `architecture` itself is not changed.

    Raises ConfigError that names the first unknown key, with the nearest name, or what transformers rejects.
    """
    from transformers import CONFIG_MAPPING

    fields = copy.deepcopy(dict(architecture))  # transformers writes into nested values.
    model_type = fields.pop("model_type")
    refuse_other_types(model_type, f"{_WHERE}.model_type")
    for key in ("dtype", "torch_dtype"):
        if key in fields:
            raise ConfigError(f"{_WHERE}.{key}: the precision is engine.precision; remove this key")
    config_class = CONFIG_MAPPING[model_type]
    _refuse_unknown(config_class, fields, f"a {model_type} model", _WHERE)
    try:
        return config_class(**fields)
    # Depending on the model type, transformers raises its own classes, ValueError, TypeError or KeyError.
    except Exception as error:
        raise ConfigError(f"{_WHERE}: no {model_type} model can be built from it: {error}") from error


def check_architecture(architecture: Mapping[str, Any], config: Any) -> None:
    """Raise ConfigError for keys without effect, two names of one value that differ, and values that train nothing.

    Keys of the architecture itself are known to `architecture_config`; here are those nested in it. config: what
    `architecture_config` returns for the architecture.
    """
    for place, part, given in _parts(config, architecture, _WHERE):
        if place != _WHERE:
            _refuse_unknown(type(part), given, place.removeprefix(f"{_WHERE}."), place)
        _refuse_second_name(type(part), given, place)
        _refuse_dropout(given, place)
        _refuse_second_rope(part, given, place)
        _refuse_rope(part, given, place)


def refuse_other_types(model_type: Any, where: str) -> None:
    """Raise ConfigError if transformers has no causal language model of this type. where: the key that names it."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(
            f"{where}: transformers knows no causal language model {model_type!r}"
            f"{_nearest(str(model_type), MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)}"
        )


def _parts(config: Any, given: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield (key, config object, given values) of the config and of every config nested in it that was given."""
    yield where, config, given
    for key in getattr(config, "sub_configs", {}):
        if isinstance(given.get(key), dict):
            yield from _parts(getattr(config, key), given[key], f"{where}.{key}")


def _refuse_unknown(config_class: Any, given: Mapping[str, Any], what: str, where: str) -> None:
    """Raise ConfigError for keys that the class does not know. what: the thing that has the keys, for the message."""
    known = {*_attributes(config_class), *config_class.attribute_map, "model_type"} - {"dtype"}
    if "rope_parameters" in known:
        known.update(_ROPE_ALIASES)
    if _reads_head_dim(config_class):
        known.add("head_dim")
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}.{key}: {what} has no such key{_nearest(key, known)}")


def _refuse_second_name(config_class: Any, given: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for two names of one value that differ."""
    for key in given:
        other = config_class.attribute_map.get(key)
        if other in given and given[other] != given[key]:
            raise ConfigError(f"{where}.{key}: is another name of {other}, which has another value; remove one of them")


def _reads_head_dim(config_class: Any) -> bool:
    """Return True if the model of a config class reads head_dim, which some classes do not list (Qwen3-MoE, GLM-4)."""
    directory = Path(inspect.getfile(config_class)).parent
    sources = (file.read_text(encoding="utf-8") for file in directory.glob("modeling_*.py"))
    return any('getattr(config, "head_dim"' in source for source in sources)


def _attributes(config_class: Any) -> set[str]:
    """Return the attributes of a config."""
    names = {field.name for field in dataclasses.fields(config_class)}
    with suppress(Exception):  # Few classes cannot be built from their defaults.
        names |= config_class().to_dict().keys()
    return names


def _refuse_dropout(given: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for a dropout that is no share below 1, which fails in the first step or trains nothing."""
    for key, value in given.items():
        if "drop" in key and type(value) in (int, float) and not 0 <= value < 1:
            raise ConfigError(f"{where}.{key}: {value} is no share of what is dropped; give 0 or more, and less than 1")


def _refuse_second_rope(config: Any, given: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for rotary parameters that transformers leaves out because others are given as well.

    Also for a part of rope_parameters that no layer reads, in models whose kinds of layers have their own.
    """
    parameters = given.get("rope_parameters")
    if parameters and given.get("rope_scaling"):
        raise ConfigError(f"{where}.rope_parameters: has no effect beside rope_scaling; give all in rope_parameters")
    inner = (parameters or given.get("rope_scaling") or {}).get("rope_theta")
    if inner is not None and given.get("rope_theta", inner) != inner:
        raise ConfigError(
            f"{where}.rope_theta: {given['rope_theta']} has no effect beside rope_theta {inner} of the layers; "
            "remove one of them"
        )
    kinds: dict[str, Any] = {}
    with suppress(Exception):  # Few classes cannot be built from their defaults.
        kinds = type(config)().rope_parameters or {}
    if any(isinstance(each, dict) for each in kinds.values()):
        for key in (parameters or {}).keys() - kinds.keys():
            raise ConfigError(f"{where}.rope_parameters.{key}: no kind of layer reads it{_nearest(key, kinds)}")


def _refuse_rope(config: Any, given: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for rotary parameters that have no effect, about which transformers only warns."""
    named = "rope_scaling" if given.get("rope_scaling") else "rope_parameters"
    place, parameters = f"{where}.{named}", given.get(named)
    if not isinstance(parameters, dict) or not hasattr(config, "validate_rope"):
        return
    types = {name[len("_validate_") : -len("_rope_parameters")] for name in dir(config) if _is_rope_type(name)}
    of_layers = {f"{place}.{key}": values for key, values in parameters.items() if isinstance(values, dict)}
    for part, values in (of_layers or {place: parameters}).items():
        rope_type = values.get("rope_type", values.get("type", "default"))
        if rope_type not in types:
            raise ConfigError(f"{part}.rope_type: there is no {rope_type!r}{_nearest(str(rope_type), types)}")
    for rope_type, unused, known in _unused_rope_keys(config):
        for part, values in {place: parameters, **of_layers}.items():
            for key in unused & values.keys():
                raise ConfigError(
                    f"{part}.{key}: has no effect with rope_type {rope_type!r}{_nearest(key, known - unused)}"
                )


def _is_rope_type(name: str) -> bool:
    return name.startswith("_validate_") and name.endswith("_rope_parameters")


def _unused_rope_keys(config: Any) -> list[tuple[str, set[str], set[str]]]:
    """Return (rope type, keys without effect, keys with an effect), from transformers' own validation."""
    found = []

    def record(rope_type: str, received: set[str], required: set[str], optional: Any = None, **more: Any) -> None:
        known = {*required, *(optional or ()), *(more.get("optional_keys") or ()), "partial_rotary_factor", "type"}
        found.append((rope_type, received - known - set(more.get("ignore_keys") or ()), known))

    checked = copy.deepcopy(config)
    checked._check_received_keys = record  # It would only log a warning.
    checked.validate_rope()
    return found


def _nearest(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    listed = ", ".join(sorted(set(known) - set(_BOOKKEEPING))[:40])
    return f"; did you mean {close[0]!r}?" if close else f"; it has {listed}"
