"""A config as YAML with comments: mappings over several lines, the rest as JSON, which YAML contains."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_PLAIN = re.compile(r"(?!(?:null|true|false|yes|no|on|off|y|n)$)(?:\.{0,2}/|[A-Za-z_])[A-Za-z0-9_./+-]*", re.IGNORECASE)
"""Text that needs no quotes, also for readers of YAML 1.1."""
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON may contain and YAML must escape."""


def commented_yaml(values: Mapping[str, Any], comments: Mapping[str, str] = {}, *, expanded: bool = False) -> str:
    """Return a config as YAML.

    comments: by dotted key; a comment that ends with a newline is put before its key. expanded: put every key of every
    mapping on a line of its own; otherwise only sections and mappings with comments inside are expanded.
    """
    return "\n".join(_lines(values, comments, "", "", expanded)) + "\n"


def _lines(
    values: Mapping[str, Any], comments: Mapping[str, str], prefix: str, indent: str, expanded: bool
) -> Iterator[str]:
    for key, value in values.items():
        path, comment = prefix + key, comments.get(prefix + key, "")
        if comment.endswith("\n"):
            yield from (f"{indent}# {line}" for line in comment.splitlines())
            comment = ""
        end = f" # {comment}" if comment else ""
        if isinstance(value, Mapping) and value and (expanded or not indent or _has_comments(path, comments)):
            yield f"{indent}{_scalar(key)}:{end}"
            yield from _lines(value, comments, f"{path}.", f"{indent}  ", expanded)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield f"{indent}{_scalar(key)}:{end}"
            yield from (f"{indent}  - {_flow(item)}" for item in value)
        else:
            yield f"{indent}{_scalar(key)}: {_flow(value)}{end}"


def _has_comments(path: str, comments: Mapping[str, str]) -> bool:
    return any(name.startswith(f"{path}.") for name in comments)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
