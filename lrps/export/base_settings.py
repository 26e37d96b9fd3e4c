"""Settings of the checkpoint that a run started from, carried over to its exports.

These are what training does not change: the chat template, the special tokens, and how text is generated, including
every EOS token. They are files of JSON, which are merged into those that the export has written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.base.files import atomic_write_bytes, atomic_write_json
from lrps.base.foreign_json import read_bounded, read_json

TEMPLATE = "chat_template.jinja"
_MORE_TEMPLATES = "additional_chat_templates"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
_LISTS = ("additional_special_tokens", "extra_special_tokens")
_OTHER = ("chat_template", "model_max_length", "padding_side", "truncation_side", "model_input_names")
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_MADE_BY_LOADING = ("_from_model_config", "transformers_version")


def carry_settings(base: Path, directory: Path, document_end: int) -> None:
    """Merge the settings of the checkpoint directory `base` into the export in `directory`.

    document_end: EOS token of the data, which stays one of the tokens that end a text. Ids and special tokens are
    carried only if they mean the same: if both have the same vocabulary, or, for ids, if `base` has no tokenizer.json.
    """
    vocabulary, theirs = _vocabulary(directory), _vocabulary(base)
    _carry_generation(base, directory, document_end, with_ids=theirs in (None, vocabulary))
    if vocabulary is not None and theirs == vocabulary:
        _carry_tokenizer_settings(base, directory, vocabulary)


def _carry_generation(base: Path, directory: Path, document_end: int, *, with_ids: bool) -> None:
    """Merge generation_config.json, and write the ids of special tokens into both configs."""
    stated = _read(base / "generation_config.json")
    kept = {key: value for key, value in stated.items() if key not in _MADE_BY_LOADING and not _is_id(key)}
    ids: dict[str, Any] = {}
    if with_ids:
        of_model = _read(base / "config.json")
        ids = {key: of_model[key] for key in _IDS if of_model.get(key) is not None}
        ids |= {key: value for key, value in stated.items() if _is_id(key) and value is not None}
        ends = ids.get("eos_token_id", [])
        ends = dict.fromkeys([*(ends if isinstance(ends, list) else [ends]), document_end])
        ids["eos_token_id"] = list(ends) if len(ends) > 1 else document_end
    _merge(directory / "generation_config.json", {**kept, **ids})
    # The padding token of config.json stays that of the model that was trained: transformers builds the model by it.
    _merge(directory / "config.json", {key: ids[key] for key in _IDS[:2] if key in ids})


def _is_id(key: str) -> bool:
    return key.endswith(("_token_id", "_ids")) or key in ("suppress_tokens", "begin_suppress_tokens", "sequence_bias")


def _carry_tokenizer_settings(base: Path, directory: Path, vocabulary: Mapping[str, int]) -> None:
    """Merge the special tokens and the chat template into tokenizer_config.json; how text is encoded is not changed."""
    stated = {**_read(base / "special_tokens_map.json"), **_read(base / "tokenizer_config.json")}
    kept = {key: stated[key] for key in _OTHER if stated.get(key) is not None}
    # A token that the vocabulary lacks would get a new id.
    kept |= {key: text for key in _SPECIAL if (text := _text(stated.get(key))) in vocabulary}
    for key in _LISTS:
        if isinstance(stated.get(key), list):
            kept[key] = [text for token in stated[key] if (text := _text(token)) in vocabulary]
    more = sorted((base / _MORE_TEMPLATES).glob("*.jinja"))
    if more:
        files = {"default": base / TEMPLATE, **{file.stem: file for file in more}}
        kept["chat_template"] = [
            {"name": name, "template": _template(file)} for name, file in files.items() if file.exists()
        ]
    elif (base / TEMPLATE).is_file():
        atomic_write_bytes(directory / TEMPLATE, read_bounded(base / TEMPLATE))
    _merge(directory / "tokenizer_config.json", kept)


def _template(file: Path) -> str:
    try:
        return read_bounded(file).decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is no text in UTF-8; copy it again") from None


def _text(token: Any) -> Any:
    """Return the text of a special token, which older files write as an object."""
    return token.get("content") if isinstance(token, dict) else token


def _vocabulary(directory: Path) -> dict[str, int] | None:
    """Return token -> id of a directory's tokenizer.json; None without one."""
    tokenizer = _read(directory / "tokenizer.json")
    if not tokenizer:
        return None
    listed = tokenizer["model"]["vocab"]
    if isinstance(listed, list):  # Unigram: pieces with their scores, in the order of their ids.
        listed = {piece: number for number, (piece, _) in enumerate(listed)}
    return {**listed, **{token["content"]: token["id"] for token in tokenizer.get("added_tokens") or ()}}


def _read(file: Path) -> dict[str, Any]:
    """Return the values of a JSON file; none if it does not exist or is no object."""
    try:
        values = read_json(file, largest=2**28)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _merge(file: Path, values: Mapping[str, Any]) -> None:
    atomic_write_json(file, {**_read(file), **values})
