"""The directory of a Hugging Face model: reading of its config.json, and hints for what is no such directory.

Imports no torch and no transformers, so that every verb can use it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.base.files import regular_file
from lrps.base.foreign_json import JsonError, read_json

MODEL_CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_HUB_NAME = re.compile(r"(?:hf://|hf:/|https:/huggingface\.co/)?(?P<name>[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?)")
"""A name of the Hugging Face Hub, `gpt2` or `owner/model`, after what a Path leaves of the start of an address."""


def read_model_config(directory: Path, where: str = "model.checkpoint") -> dict[str, Any]:
    """Return the values of config.json in the directory of a Hugging Face model.

    where: the key of the config that names the directory, for messages. Raises ConfigError that says what the directory
    is instead, and how to get a model.
    """
    file = directory / MODEL_CONFIG
    if not file.is_file():
        raise ConfigError(f"{where}: {_what_it_is(directory)}")
    refuse_lfs_pointer(file, where)
    try:
        values: dict[str, Any] = read_json(file)
    except (OSError, JsonError) as error:
        raise ConfigError(f"{where}: {file} cannot be read: {error}") from None
    if not isinstance(values.get("model_type"), str):
        raise ConfigError(
            f"{where}: {file} names no model_type, so it is not the config of a transformers model; give the directory "
            "of a model that `save_pretrained` or `lrps export` wrote"
        )
    return values


def refuse_lfs_pointer(file: Path, where: str) -> None:
    """Raise ConfigError if the file is a Git LFS pointer, which a clone without git-lfs leaves in place of a file.

    A file that cannot be read is left to its reader, which says so.
    """
    try:
        with open(file, "rb", opener=regular_file) as opened:
            start = opened.read(len(_LFS_POINTER))
    except OSError:
        return
    if start == _LFS_POINTER:
        raise ConfigError(
            f"{where}: {file} is a Git LFS pointer and not the file itself; run `git lfs pull` in {file.parent}"
        )


def _what_it_is(directory: Path) -> str:
    """Return the description of a path that has no config.json, and how to get a model."""
    if directory.is_file():
        return f"{directory} is a file; give the directory of a Hugging Face model, with config.json and weights"
    if not directory.is_dir():
        return f"{directory.absolute()} is no directory; {_how_to_get(directory)} (lrps downloads nothing by itself)"
    if (directory / ADAPTER_CONFIG).exists():
        return f"{directory} is an adapter (LoRA, PEFT) and not a whole model; {MERGE}"
    if (directory / "manifest.json").exists():
        return (
            f"{directory} has no {MODEL_CONFIG}; if it is a checkpoint of lrps, give what `lrps export` makes of it, "
            "or name it as model.initial_state"
        )
    inside = sorted(
        found.parent for level in ("*", "snapshots/*") for found in directory.glob(f"{level}/{MODEL_CONFIG}")
    )
    hint = (
        f"did you mean {' or '.join(map(str, inside[:3]))}?"
        if inside
        else "give the local directory of a Hugging Face model (lrps downloads nothing by itself)"
    )
    return f"{directory} has no {MODEL_CONFIG}; {hint}"


MERGE = (
    "merge it into its base model with peft: `AutoPeftModelForCausalLM.from_pretrained(ADAPTER).merge_and_unload()"
    ".save_pretrained(DIR)`, and give DIR"
)
"""How to make a whole model of an adapter."""


def _how_to_get(directory: Path) -> str:
    named = _HUB_NAME.fullmatch(str(directory))
    if named is None:
        return "give the local directory of a Hugging Face model"
    name = named["name"]
    local = name.rpartition("/")[2]
    return (
        f"if {name} is a model on the Hugging Face Hub, run `hf download {name} --local-dir {local}` and give that "
        "directory"
    )
