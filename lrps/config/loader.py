"""Reading a config file: YAML 1.2 scalars, a position for every error, overrides, one validation.

PyYAML follows YAML 1.1, where `3e-4` is a string, `on` a boolean and a repeated key no error. Only its parser is used;
scalars are resolved by the core schema of YAML 1.2.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from lrps.base.addresses import conceal, conceal_paths
from lrps.base.errors import ConfigError
from lrps.base.files import located
from lrps.base.plugins.source import execute_file
from lrps.base.shipped import shipped_config
from lrps.config.deepspeed.refusals import refusal_words
from lrps.config.extensions import PARADIGMS
from lrps.config.models import Config
from lrps.config.optimizing import BUILTIN, DEFAULT_KIND, optimizer_section
from lrps.config.strategies import KINDS, section_of

Location = tuple[str | int, ...]
_INT = re.compile(r"[-+]?[0-9]{1,4000}|0o[0-7]{1,4000}|0x[0-9a-fA-F]{1,4000}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_MOST_NODES = 100_000
"""Largest number of nodes in one document: a config has some hundred, a bomb of aliases has billions."""
_PLAIN = {
    "dict_type": "a mapping of keys is needed here",
    "model_type": "a mapping of keys is needed here",
    "tuple_type": "a list is needed here",
    "too_short": "at least {min_length} needed here",
    "int_type": "a whole number is needed here",
    "int_from_float": "a whole number is needed here",
    "float_type": "a number is needed here",
    "bool_type": "true or false is needed here",
    "bool_parsing": "true or false is needed here",
    "finite_number": "a finite number is needed here",
    "string_pattern_mismatch": "letters, digits, '-' and '_' only, and a letter or digit first",
}
"""Error types of pydantic -> their messages in the terms of a config file."""


class Positions:
    """Positions of the values of a document: location -> `file:line:column`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.built = 0
        """Number of nodes built so far."""
        self._marks: dict[Location, str] = {}

    def note(self, location: Location, mark: yaml.Mark) -> None:
        self._marks[location] = f"{self.name}:{mark.line + 1}:{mark.column + 1}"

    def override(self, location: Location, text: str) -> None:
        self._marks = {loc: mark for loc, mark in self._marks.items() if loc[: len(location)] != location}
        self._marks[location] = f"-s {text}"

    def graft(self, key: str, inner: Positions) -> None:
        """Add the positions of another document, which is inserted at `key`."""
        self._marks |= {(key, *location): mark for location, mark in inner._marks.items()}

    def of(self, location: Location) -> str:
        """Return the position of a location, or of the nearest mapping or list around it."""
        for length in range(len(location), -1, -1):
            if (mark := self._marks.get(location[:length])) is not None:
                return mark
        return self.name


def _without_tag(location: Location) -> Location:
    """Return a location as the document has it: pydantic adds built-in kinds, as in paradigms.NAME.KIND.key."""
    at, kinds = {"paradigms": (2, KINDS), "optimizer": (1, BUILTIN)}.get(str(location[0]), (0, ()))
    named = len(location) > at and location[at] in kinds
    return (*location[:at], *location[at + 1 :]) if named else location


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
    if node.style:  # "" or None for a plain scalar, by the parser that read it
        return text
    if text.lower() in _WORDS and text in (text.lower(), text.capitalize(), text.upper()):
        return _WORDS[text.lower()]
    if _INT.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else text


def _build(node: yaml.Node, location: Location, positions: Positions) -> Any:
    positions.built += 1
    if positions.built > _MOST_NODES:
        raise ConfigError(f"{positions.of(location)}: its aliases repeat too much; write the values out")
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            positions.note((*location, i), item.start_mark)
        return [_build(item, (*location, i), positions) for i, item in enumerate(node.value)]
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(_build(key_node, location, positions))
        here = (*location, key)
        if key in result:
            first = positions.of(here)
            positions.note(here, key_node.start_mark)
            raise ConfigError(f"{positions.of(here)}: '{key}' appears twice (first at {first}); remove one of them")
        positions.note(here, key_node.start_mark)
        result[key] = _build(value_node, here, positions)
    return result


def _compose(text: str) -> yaml.Node | None:
    """Return the node tree of a text, by the parser of libyaml where PyYAML has it: ten times as fast.

    A text that libyaml refuses is read by PyYAML's own parser, so that errors are the same everywhere.
    """
    if yaml.__with_libyaml__:
        with suppress(yaml.YAMLError):
            return yaml.compose(text, Loader=yaml.CSafeLoader)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def parse_yaml(text: str, name: str) -> tuple[Any, Positions]:
    """Plain values and their positions. Raises ConfigError with file:line:column for text that is not YAML."""
    positions = Positions(name)
    try:
        node = _compose(text)
        if node is None:
            return None, positions
        positions.note((), node.start_mark)
        return _build(node, (), positions), positions
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise ConfigError(f"{at}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply, or an alias that holds itself; write the values out") from None


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        nearby = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], 1, 0.4)
        hint = f"; did you mean {path.parent / nearby[0]}?" if nearby else ""
        raise ConfigError(f"{located(path)}: no such {what}{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the {what}: {error}") from None


def _apply_override(document: dict[str, Any], text: str, positions: Positions) -> None:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"-s {text}: an override is written key=value, for example -s schedule.peak_lr=3e-4")
    if key.startswith("track") and "://" in value:
        raise ConfigError(
            f"-s {key}: other users can see command lines, and the address of a webhook is a secret; write it into the "
            "config file, or into the environment variable that track.notify.url_variable names"
        )
    parsed, _ = parse_yaml(value, f"-s {text}")
    if not all(key.split(".")):
        raise ConfigError(f"-s {text}: the key has an empty part; write it like schedule.peak_lr")
    if conceal(value) != value:  # Process lists show it, launchers log it, trackers keep it.
        raise ConfigError(f"-s {key}: an address with a password, a query or a command belongs in the config file")
    parts: list[str | int] = [int(p) if re.fullmatch("[0-9]{1,6}", p) else p for p in key.split(".")]
    target: Any = document
    for i, part in enumerate(parts[:-1]):
        if isinstance(target, list) and isinstance(part, int) and part < len(target):
            target = target[part]
        elif isinstance(target, dict):
            if target.get(str(part)) is None:
                target[str(part)] = {}
            target = target[str(part)]
        else:
            raise ConfigError(f"-s {text}: {'.'.join(map(str, parts[: i + 1]))} {_no_place(target)}")
    last = parts[-1]
    if isinstance(target, list) and isinstance(last, int) and last <= len(target):
        target[last : last + 1] = [parsed]
    elif isinstance(target, dict):
        target[str(last)] = parsed
    else:
        raise ConfigError(f"-s {text}: {key} {_no_place(target)}")
    positions.override(tuple(parts), text)


def _no_place(target: Any) -> str:
    if isinstance(target, list):
        return f"is not in the file: items are numbered from 0, here to {len(target) - 1}"
    return "is not in the file"


def _section_keys(location: Location, document: Mapping[str, Any]) -> list[str]:
    """Return the keys allowed in the section of a document around `location`."""
    model: Any = Config
    if location[0] == "paradigms" and len(location) > 2:
        name = str(location[1])
        model = section_of(document["paradigms"][name].get("kind", name))
        location = location[2:]
    elif location[0] == "optimizer" and len(location) > 1:
        model, location = optimizer_section(document["optimizer"].get("kind", DEFAULT_KIND)), location[1:]
    for part in location[:-1]:
        if part in model.model_fields:
            model = _section_of(model.model_fields[str(part)].annotation)
    return list(model.model_fields)


def _section_of(annotation: Any) -> Any:
    """Return the model class inside an annotation such as `HardwareConfig | None` or `tuple[Version, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, dict, typing.Annotated):
        for argument in typing.get_args(annotation):
            if (found := _section_of(argument)) is not None:
                return found
    return None


def _explain(error: Any, positions: Positions, document: Mapping[str, Any]) -> str:
    raw: Location = tuple(error["loc"])
    location = _without_tag(raw) if raw else raw
    name = ".".join(map(str, location))
    at = positions.of(location)
    if error["type"] == "extra_forbidden" and location[:2] == ("engine", "deepspeed"):
        return f"{at}: {name}: {refusal_words('.'.join(map(str, location[2:])), _section_keys(location, document))}"
    if error["type"] == "extra_forbidden":
        keys = _section_keys(location, document)
        nearby = difflib.get_close_matches(str(raw[-1]), keys, 1, 0.6)
        hint = f"; did you mean '{nearby[0]}'?" if nearby else f"; known keys: {', '.join(keys)}"
        return f"{at}: {name}: unknown key{hint} (got {_shown(location, error['input'])})"
    if error["type"] in ("literal_error", "union_tag_invalid"):
        context = error["ctx"]
        if location == ("optimizer",):
            at, name = positions.of(("optimizer", "kind")), "optimizer.kind"
        allowed = re.findall(r"'([^']+)'", context.get("expected") or context["expected_tags"])
        given = str(context.get("tag", error["input"]))
        nearby = difflib.get_close_matches(given, allowed, 1, 0.5)
        hint = f"; did you mean '{nearby[0]}'?" if nearby else ""
        expected = ", ".join(allowed) or context["expected"]
        return f"{at}: {name}: must be one of {expected}{hint} (got {_shown(location, given)})"
    if error["type"] == "missing":
        return f"{at}: {name}: this key is needed"
    if error["type"] == "union_tag_not_found":
        return f"{at}: {name}: add 'kind', one of {', '.join(PARADIGMS.names)}"
    message = _PLAIN.get(error["type"], error["msg"].removeprefix("Value error, "))
    message = message.format_map(error.get("ctx", {})) if error["type"] == "too_short" else message
    if not location:  # a rule over several keys names the one to look at first
        at = positions.of(tuple(message.split(" ", 1)[0].rstrip(":").split(".")))
    got = "" if isinstance(error["input"], dict | BaseModel) else f" (got {_shown(location, error['input'])})"
    return f"{at}: {name + ': ' if name else ''}{message}{got}"


def _shown(location: Location, value: Any) -> str:
    """Return a wrong value as a message may show it: an address may be that of a webhook, whose path is a secret."""
    return "..." if location[:2] == ("track", "notify") else conceal_paths(repr(value))


def _read_hardware(document: dict[str, Any], positions: Positions, directory: Path) -> None:
    """Replace the name of a hardware file by the content of that file."""
    if isinstance(name := document.get("hardware"), str):
        path = directory / name if (directory / name).exists() else _shipped(directory, name)
        document["hardware"], inner = parse_yaml(_read(path, "hardware file"), str(path))
        if not isinstance(document["hardware"], dict):
            raise ConfigError(f"{path}: a hardware file is a mapping of keys; see configs/hardware/h100-8.yaml")
        positions.graft("hardware", inner)


def _shipped(directory: Path, name: str) -> Path:
    """Return the hardware file of this name that comes with lrps; the one that is missing if there is none."""
    try:
        return shipped_config(name)
    except ConfigError:
        return directory / name


def _execute_plugins(document: dict[str, Any], directory: Path) -> None:
    """Execute the plug-in files of a document, and replace their names by paths relative to the working directory."""
    if isinstance(names := document.get("plugins"), list) and all(isinstance(name, str) for name in names):
        document["plugins"] = [str(directory / name) for name in names]
        for name in document["plugins"]:
            execute_file(Path(name))


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read, override and validate a config file.

    Its plug-in files are executed, so that they register what the config names.
    overrides: `a.b=value` texts; the value is YAML, list items are numbered from 0.
    Raises ConfigError that lists ALL faults, each as file:line:column, key, what is wrong and the nearest name; it
    shows no secret of an address.
    """
    try:
        return _load(path, overrides)
    except ConfigError as error:
        raise ConfigError(conceal(str(error))) from None


def config_of(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Return the config that the keys of a config file make, as `load_config` does; errors have no positions.

    Files that it names (`hardware`, `plugins`) are relative to the working directory.
    """
    try:
        return _validated(deepcopy(dict(values)), Positions("config"), Path(), overrides)
    except ConfigError as error:
        raise ConfigError(conceal(str(error))) from None


def _load(path: Path, overrides: Sequence[str]) -> Config:
    return parse_config(_read(path, "config file"), str(path), overrides, path.parent)


def parse_config(text: str, name: str, overrides: Sequence[str] = (), directory: Path = Path()) -> Config:
    """Validate the text of a config file. name: of the file, for messages. directory: where its hardware file is.

    Raises ConfigError as `load_config`, whose messages conceal secrets in addition.
    """
    document, positions = parse_yaml(text, name)
    if not isinstance(document, dict):
        raise ConfigError(f"{name}: a config is a mapping of keys; `lrps init` writes one")
    return _validated(document, positions, directory, overrides)


def _validated(document: dict[str, Any], positions: Positions, directory: Path, overrides: Sequence[str]) -> Config:
    """Return the config of a document. directory: folder that the files which it names are relative to."""
    _read_hardware(document, positions, directory)
    for override in overrides:
        _apply_override(document, override, positions)
        _read_hardware(document, positions, directory)  # it may name another file
    _execute_plugins(document, directory)
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(e, positions, document) for e in error.errors())) from None
