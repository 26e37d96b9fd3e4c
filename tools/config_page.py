"""Write docs/config.md, the reference of config keys, from the models of lrps/config: `make schema`.

python tools/config_page.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lrps.config.models import Config

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
HEAD = """\
# Config keys

Every key of a config file with its type, unit, default and meaning, generated from the code (`make schema`). A key
without a default is needed. [The glossary](glossary.md) defines the terms.

- `lrps init NAME --text ...` writes a config for your text; `lrps config show CONFIG` prints one with all defaults.
- `lrps config schema > schema.json` gives editors the schema: put `# yaml-language-server: $schema=schema.json` at the
  top of a config, and keys are completed and checked as you type.
- A wrong key is reported as `file:line:column` with the nearest valid name. `-s KEY=VALUE` overrides a key on the
  command line; the items of a list are numbered from 0: `-s data.versions.0.tokens=1B`.
- Numbers may be written as 3e-4, and counts of tokens or parameters as 10.5B. Paths are relative to the working
  directory.
"""
UNITS = {
    "steps": "steps",
    "rows": "sequences",
    "sequences": "sequences",
    "tokens": "tokens",
    "minutes": "minutes",
    "seconds": "seconds",
    "hours": "hours",
    "share": "share",
    "length": "tokens",
    "epochs": "passes",
    "gb": "1e9 bytes",
    "tflops": "1e12 FLOP/s",
    "limit": "",
}
"""Last or first word of a key -> its unit."""
Schema = Mapping[str, Any]


def page() -> str:
    """Return the text of docs/config.md."""
    schema = Config.model_json_schema()
    sections = "\n".join(_sections("", schema, schema["$defs"]))
    return f"{HEAD}\n{sections}"


def undescribed() -> list[str]:
    """Return the keys without a description."""
    schema = Config.model_json_schema()
    models = {"Config": schema, **schema["$defs"]}
    return [
        f"{name}.{key}"
        for name, model in models.items()
        for key, value in model.get("properties", {}).items()
        if not value.get("description")
    ]


def _sections(path: str, model: Schema, models: Mapping[str, Schema]) -> Iterator[str]:
    """Yield a table of the keys of a section, then its sections."""
    yield f"## {'`' + path + '`' if path else 'The file'}\n"
    if path and model.get("description"):
        yield f"{_line(model['description'])}\n"
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    needed = model.get("required", ())
    nested = []
    for key, value in model["properties"].items():
        below = list(_below(f"{path}.{key}" if path else key, value, models))
        nested += below
        kind = f"[section](#{_anchor(below[0][0])})" if below else _type(value, models)
        unit = _unit(key, value)
        default = "" if key in needed else _default(value)
        if below and default not in ("", "none"):
            default = "as there"
        meaning = _line(value.get("description", ""))
        yield f"| `{key}` | {kind}{', ' + unit if unit else ''} | {default} | {meaning} |"
    yield ""
    for below_path, below_model in nested:
        yield from _sections(below_path, below_model, models)


def _below(path: str, value: Schema, models: Mapping[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """Yield the sections inside a key: (path, model)."""
    if "$ref" in value:
        yield from _below(path, models[value["$ref"].rpartition("/")[2]], models)
    if "properties" in value and path != "paradigms":
        yield path, value
    for option in value.get("anyOf", ()):
        yield from _below(path, option, models)
    for option in value.get("oneOf", ()):
        kind = models[option["$ref"].rpartition("/")[2]]["properties"]["kind"].get("const")
        yield from _below(f"{path} (kind: {kind})", option, models)
    if "items" in value:
        yield from _below(f"{path}[]", value["items"], models)
    if path == "paradigms":
        for kind, option in value["properties"].items():
            yield from _below(f"paradigms.NAME (kind: {kind})", option, models)
        return
    for named in (*value.get("patternProperties", {}).values(), value.get("additionalProperties")):
        if isinstance(named, Mapping):
            yield from _below(f"{path}.NAME", named, models)


def _type(value: Schema, models: Mapping[str, Schema]) -> str:
    """Return the words for a type."""
    if "anyOf" in value:
        words = [_type(each, models) for each in value["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("type") == "array":
        items = value.get("items") or value.get("prefixItems", [{}])[0]
        return f"list of {_type(items, models)}"
    if value.get("type") == "object":
        return "mapping"
    if value.get("type") in ("integer", "number"):
        return "whole number" if value["type"] == "integer" else "number"
    if value.get("type") == "string":
        return {"date": "date", "path": "path"}.get(value.get("format", ""), _text(value))
    return {"boolean": "true or false"}.get(value.get("type", ""), "any")


def _text(value: Schema) -> str:
    pattern = value.get("pattern", "")
    if "KMBGT" in pattern:
        return "text such as `10.5B`"
    return "text such as `500GB`" if "kMGT" in pattern else "text"


def _unit(key: str, value: Schema) -> str:
    """Return the unit of a number by the words of its key; empty if it has none."""
    numbers = [value, *value.get("anyOf", ())]
    if not any(each.get("type") in ("integer", "number") for each in numbers):
        return ""
    words = key.split("_")
    return UNITS.get(words[-1]) or UNITS.get(words[0]) or ""


def _default(value: Schema) -> str:
    if "default" not in value:
        return "none" if value.get("type") == "object" else ""
    default = value["default"]
    return "none" if default in (None, [], {}, "") else f"`{_line(json.dumps(default))}`"


def _line(text: str) -> str:
    """Return text as one cell of a table, without what Markdown would take for tags."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def _anchor(path: str) -> str:
    """Return the anchor of the heading of a section."""
    kept = "".join(each for each in path.lower() if each.isalnum() or each in " -_")
    return kept.replace(" ", "-")


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
