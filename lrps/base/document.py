"""Documents: frozen dataclasses that become JSON in one place, here, when they are printed or written.

A document's class describes the JSON: its fields are the keys, in order, and `FORMAT` names the format:

    @dataclass(frozen=True)
    class Shelf:
        FORMAT: ClassVar[str] = "shop-shelf/1"
        price: Price = field(metadata=INLINE)           # the price's own keys, in this object
        book_count: int = field(metadata=key("books"))  # written under another name

The JSON schema of a class is made in lrps/base/document_schema.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

INLINE: Mapping[str, Any] = MappingProxyType({"inline": True})
"""Field metadata: write the keys of this field's value into the object itself, in place of one key."""

OPTIONAL: Mapping[str, Any] = MappingProxyType({"optional": True})
"""Field metadata: the key was added later, so that documents of earlier versions of lrps lack it."""


UNLESS_NONE: Mapping[str, Any] = MappingProxyType({"optional": True, "unless_none": True})
"""Field metadata: the key was added later, and is left out where the value is None."""


def key(name: str) -> Mapping[str, Any]:
    """Return field metadata that gives the field a JSON key other than its own name."""
    return MappingProxyType({"key": name})


def json_key(field: Field[Any]) -> str:
    """Return the JSON key of a field."""
    return str(field.metadata.get("key", field.name))


def is_inline(field: Field[Any]) -> bool:
    """Return True if the keys of the field's value are written in place of the field."""
    return bool(field.metadata.get("inline", False))


def is_optional(field: Field[Any]) -> bool:
    """Return True if documents of earlier versions of lrps lack the field's key."""
    return bool(field.metadata.get("optional", False))


def to_json(value: Any) -> Any:
    """Return a value made of dataclasses, mappings, sequences and plain values as JSON values.

    A dataclass becomes an object; where its class has a `FORMAT`, that is the first key, `format`. Where two fields
    write the same key, the later one wins: an object can inline another and replace some of its values. Keys of
    mappings become strings. A Fraction becomes an integer if it is a whole number, else the nearest float.
    """
    if is_dataclass(value):
        form = getattr(value, "FORMAT", None)
        head = {} if form is None else {"format": form}
        return head | dict(_members(value))
    if isinstance(value, Mapping):
        return {str(name): to_json(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(each) for each in value]
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return value


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys and JSON values of a dataclass, those of inlined fields among them."""
    for field in fields(value):
        member = getattr(value, field.name)
        if is_inline(field):
            yield from _members(member)
        elif member is not None or not field.metadata.get("unless_none"):
            yield json_key(field), to_json(member)
