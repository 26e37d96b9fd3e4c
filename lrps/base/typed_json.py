"""Values of annotated types as JSON values and back: dataclasses, named tuples, paths, tuples, lists and mappings.

It is for values that processes of one run send each other. Files have formats of their own (lrps/base/document.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_SCALARS = (str, int, float, bool, NoneType)


def to_json_values(value: Any) -> Any:
    """Return a value as JSON values. Raises TypeError for a value of a type that `from_json_values` cannot return.

    A dataclass becomes an object with the arguments of its constructor, a mapping an object if all keys are strings,
    else a list of pairs.
    """
    if type(value) in _SCALARS:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: to_json_values(getattr(value, each.name)) for each in fields(value) if each.init}
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value):
            return {key: to_json_values(each) for key, each in value.items()}
        return [[to_json_values(key), to_json_values(each)] for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return [to_json_values(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no type of JSON values: {value!r:.80}")


def from_json_values(kind: Any, values: Any) -> Any:
    """Return the value of a type from its JSON values. Raises ValueError if they are of another type.

    kind: the type, whose annotations are resolved where it is defined; Any for JSON values as they are.
    """
    if kind is Any:
        return values
    if kind in _SCALARS or kind is None:
        return _scalar(kind or NoneType, values)
    if kind is Path:
        return Path(_scalar(str, values))
    if isinstance(kind, type) and is_dataclass(kind):
        wanted: dict[str, Any] = _members(kind)
        _check(isinstance(values, dict) and values.keys() == wanted.keys(), kind, values)
        return kind(**{name: from_json_values(each, values[name]) for name, each in wanted.items()})
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = get_type_hints(kind)
        return kind(*_sequence(tuple(hints[name] for name in kind._fields), kind, values))
    return _generic(kind, values)


def _generic(kind: Any, values: Any) -> Any:
    """Return the value of a type with arguments, such as `tuple[int, ...]` or `X | None`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(arguments, values)
    if origin is Literal:
        _check(values in arguments, kind, values)
        return values
    if origin is tuple:
        if arguments[1:] == (...,):
            return tuple(_each(arguments[0], kind, values))
        return tuple(_sequence(arguments, kind, values))
    if origin in (list, Sequence):
        return _each(arguments[0], kind, values)
    if origin in (dict, Mapping):
        return _mapping(arguments, kind, values)
    raise TypeError(f"{kind} is no type of JSON values")


def _scalar(kind: type, values: Any) -> Any:
    _check(type(values) is kind or (kind is float and type(values) is int), kind, values)
    return float(values) if kind is float else values


def _one_of(kinds: Sequence[Any], values: Any) -> Any:
    if values is None and NoneType in kinds:
        return None
    for kind in kinds:
        try:
            return from_json_values(kind, values)
        except ValueError:
            continue
    raise ValueError(f"{values!r:.80} is none of {kinds}")


def _each(kind: Any, whole: Any, values: Any) -> list[Any]:
    _check(isinstance(values, list), whole, values)
    return [from_json_values(kind, each) for each in values]


def _sequence(kinds: Sequence[Any], whole: Any, values: Any) -> list[Any]:
    _check(isinstance(values, list) and len(values) == len(kinds), whole, values)
    return [from_json_values(kind, each) for kind, each in zip(kinds, values, strict=True)]


def _mapping(kinds: Sequence[Any], whole: Any, values: Any) -> dict[Any, Any]:
    if isinstance(values, dict):
        values = [[key, each] for key, each in values.items()]
    return dict(_sequence(kinds, whole, pair) for pair in _each(Any, whole, values))


def _check(fits: bool, kind: Any, values: Any) -> None:
    if not fits:
        raise ValueError(f"{values!r:.80} is no {getattr(kind, '__name__', kind)}")


@cache
def _members(kind: Any) -> dict[str, Any]:
    """Return the arguments of the constructor of a dataclass with their types."""
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind) if each.init}
