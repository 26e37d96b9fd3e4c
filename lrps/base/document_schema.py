"""JSON schemas of documents (lrps/base/document.py), made from the types and docstrings of their dataclasses."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from fractions import Fraction
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lrps.base.document import is_inline, is_optional, json_key

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number", Fraction: "number", NoneType: "null"}


def json_schema(document: type) -> Schema:
    """Return the JSON schema of what `to_json` makes of a document: a dataclass with a `FORMAT`.

    Every key is required, but for those marked OPTIONAL. Keys that the schema does not name are allowed, so that a
    later version of lrps can add some.
    Raises TypeError for a field whose type has no JSON form.
    """
    definitions: dict[str, Schema] = {}
    body = _object(document, definitions)
    return {"$schema": DIALECT, **body, "$defs": dict(sorted(definitions.items()))}


def _object(cls: type, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a dataclass; those of the classes that it refers to are added to `definitions`."""
    form = getattr(cls, "FORMAT", None)
    properties: dict[str, Schema] = {} if form is None else {"format": {"const": form}}
    properties |= _properties(cls, definitions)
    return {
        "title": cls.__name__,
        "description": inspect.cleandoc(cls.__doc__ or ""),
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in _optional(cls)],
    }


def _optional(cls: type) -> set[str]:
    """Return the keys of a dataclass that documents may lack, those of inlined fields among them."""
    types = get_type_hints(cls)
    inlined = (name for field in fields(cls) if is_inline(field) for name in _optional(types[field.name]))
    return {*inlined, *(json_key(field) for field in fields(cls) if is_optional(field))}


def _properties(cls: type, definitions: dict[str, Schema]) -> dict[str, Schema]:
    """Return the schema of each key of a dataclass, those of inlined fields among them."""
    types, descriptions = get_type_hints(cls), attribute_docstrings(cls)
    found: dict[str, Schema] = {}
    for field in fields(cls):
        if is_inline(field):
            found |= _properties(types[field.name], definitions)
        else:
            found[json_key(field)] = _of(types[field.name], definitions) | (
                {"description": descriptions[field.name]} if field.name in descriptions else {}
            )
    return found


def _of(annotation: Any, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of values of a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return {}
    if annotation in _PLAIN:
        return {"type": _PLAIN[annotation]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        return _union([_of(each, definitions) for each in arguments])
    if inspect.isclass(annotation) and is_dataclass(annotation):
        if annotation.__name__ not in definitions:
            definitions[annotation.__name__] = {}  # the class may refer to itself
            definitions[annotation.__name__] = _object(annotation, definitions)
        return {"$ref": f"#/$defs/{annotation.__name__}"}
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(arguments[1], definitions)}
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return {"type": "array", "items": _of(arguments[0], definitions)}
    raise TypeError(f"{annotation}: no JSON schema for this type")


def _union(choices: Sequence[Schema]) -> Schema:
    """Return the schema of values that fit one of several schemas."""
    if all(choice.keys() == {"type"} for choice in choices):
        return {"type": list(dict.fromkeys(choice["type"] for choice in choices))}
    return {"anyOf": list(choices)}


def attribute_docstrings(cls: type) -> dict[str, str]:
    """Return the docstring below each attribute of a class and of the classes that it derives from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = definition.body if isinstance(definition, ast.ClassDef) else []
        for pair in pairwise(body):
            match pair:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(value=ast.Constant(str(text))):
                    found[name] = inspect.cleandoc(text)
    return found
