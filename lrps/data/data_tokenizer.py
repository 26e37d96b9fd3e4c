"""The tokenizer of a config's data: its file, the EOS token after each document, and the BOS token before it, if any.

The EOS token is the first of: `data.end_token`; that of the manifests that this tokenizer made; `eos_token` of the
tokenizer_config.json beside the tokenizer; `eos_token_id` of `model.checkpoint`; the only recognized spelling in the
vocabulary. Must not import torch or transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lrps.base.errors import DataError
from lrps.base.foreign_json import read_json
from lrps.config.models import Config
from lrps.data.manifest import Manifest, TokenizerIdentity
from lrps.data.tokenizer import TRAINED_EOS, TokenizerFile, read_tokenizer

EOS_TOKENS = (TRAINED_EOS, "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<|eos|>")
"""Spellings of the EOS token that are recognized if nothing else names one."""
BEGIN_TOKEN = "begin_token"
"""Key of the BOS token's spelling in a manifest's provenance; absent if documents have none."""

_CANDIDATES = 12
"""Largest number of candidates in a message."""


@dataclass(frozen=True)
class DataTokenizer:
    """A tokenizer with the tokens that are put around each document.

    begin: spelling of the BOS token, or None. absent_begin: spelling of the BOS token that the tokenizer itself would
    put before a text, if documents get none. checkpoint_mismatch: why a model that starts from the checkpoint would
    learn another EOS token than its own, and how to fix it; None if it would not.
    """

    file: TokenizerFile
    identity: TokenizerIdentity
    begin: str | None = None
    absent_begin: str | None = None
    checkpoint_mismatch: str | None = None

    @property
    def end(self) -> str:
        """Spelling of the EOS token."""
        return self.file.spelling(self.identity.eos)

    @property
    def begin_id(self) -> int | None:
        return None if self.begin is None else self.file.vocabulary[self.begin]

    @property
    def absent_begin_note(self) -> str | None:
        """Message for the user if documents have no BOS token although the tokenizer would add one; else None."""
        if self.absent_begin is None:
            return None
        return (
            f"this tokenizer puts {self.absent_begin} before a text by itself; documents in the shards begin without "
            f"it. If the model expects it, set data.begin_token: {json.dumps(self.absent_begin)} before the first build"
        )


def config_tokenizer(config: Config, manifests: Iterable[Manifest] = ()) -> DataTokenizer:
    """Return the tokenizer of a config's data. manifests: those that exist. Raises DataError as `open_tokenizer`."""
    data = config.data
    return open_tokenizer(
        data.tokenizer_path,
        end_token=data.end_token,
        begin_token=data.begin_token,
        checkpoint=config.model.checkpoint,
        manifests=manifests,
    )


def open_tokenizer(
    path: Path,
    *,
    end_token: str | None = None,
    begin_token: str | None = None,
    checkpoint: Path | None = None,
    manifests: Iterable[Manifest] = (),
) -> DataTokenizer:
    """Read a tokenizer and find its EOS and BOS tokens. Manifests of other tokenizers are ignored.

    Raises DataError for a file that is no tokenizer, a token that is not in the vocabulary, an EOS token that nothing
    determines, and an `end_token` or `begin_token` that differs from that of a manifest.
    """
    file = read_tokenizer(path)
    made = [manifest for manifest in manifests if manifest.tokenizer.sha256 == file.sha256]
    checkpoint_eos = _checkpoint_eos(checkpoint)
    end = _end(file, end_token, made, checkpoint_eos)
    begin = _begin(file, begin_token, made, end)
    own_begin = _own_begin(file)
    return DataTokenizer(
        file,
        file.identity(end),
        begin,
        absent_begin=own_begin if begin is None and own_begin != file.spelling(end) else None,
        checkpoint_mismatch=_mismatch(file, end, checkpoint, checkpoint_eos, built=bool(made)),
    )


def _end(file: TokenizerFile, asked: str | None, made: list[Manifest], checkpoint_eos: tuple[int, ...]) -> int:
    """Return the id of the EOS token."""
    built = {manifest.tokenizer.eos: manifest.version for manifest in made}
    if len(built) > 1:
        versions = ", ".join(f"{version} with {file.spelling(eos)}" for eos, version in built.items())
        raise DataError(f"versions were built with different EOS tokens: {versions}. Build one of them again.")
    if asked is not None:
        end = _known(file, asked, "data.end_token")
        for eos, version in built.items():
            if eos != end:
                raise DataError(
                    f"data.end_token is {asked}, but version {version} was built with the EOS token "
                    f"{file.spelling(eos)}: set data.end_token to that one, or build under another data.root"
                )
        return end
    if built:
        return next(iter(built))
    if (stated := _spelling(_settings(file).get("eos_token"))) is not None:
        return _known(file, stated, f"eos_token of {_settings_path(file)}")
    recognized = [file.vocabulary[token] for token in EOS_TOKENS if token in file.vocabulary]
    of_checkpoint = [eos for eos in checkpoint_eos if eos in file.vocabulary.values()]
    for group in (of_checkpoint, [eos for eos in of_checkpoint if eos in recognized], recognized):
        if len(group) == 1:
            return group[0]
    if recognized:
        names = ", ".join(file.spelling(token) for token in recognized)
        raise DataError(f"{file.path}: any of {names} may be the EOS token. Set data.end_token to the right one.")
    raise DataError(
        f"{file.path}: the tokenizer has no EOS token that is recognized ({', '.join(EOS_TOKENS)}). Set data.end_token "
        f"to the token that ends a document{_candidates(file)}, or add an EOS token to the tokenizer."
    )


def _begin(file: TokenizerFile, asked: str | None, made: list[Manifest], end: int) -> str | None:
    """Return the spelling of the BOS token of documents."""
    built = {manifest.provenance.get(BEGIN_TOKEN): manifest.version for manifest in made}
    if len(built) > 1:
        versions = ", ".join(f"{version} with {name or 'none'}" for name, version in built.items())
        raise DataError(f"versions were built with different BOS tokens: {versions}. Build one of them again.")
    found = next(iter(built), None)
    if asked is None:
        return None if found is None else _name_of(file, found)
    if built and found != asked:
        raise DataError(
            f"data.begin_token is {asked}, but version {built[found]} was built with {found or 'no BOS token'}: "
            f"{'remove data.begin_token' if found is None else f'set it to {found}'}, or build under another data.root"
        )
    if _known(file, asked, "data.begin_token") == end:
        raise DataError(f"data.begin_token is {asked}, the EOS token, which precedes every document anyway: remove it")
    return asked


def _name_of(file: TokenizerFile, found: object) -> str:
    """Return the BOS token of a manifest, which may come from elsewhere. Raises DataError if it is no token."""
    _known(file, str(found), "the BOS token of a manifest")
    return str(found)


def _known(file: TokenizerFile, name: str, where: str) -> int:
    """Return the id of a token. Raises DataError, with the nearest name, if it is not in the vocabulary."""
    if name in file.vocabulary:
        return file.vocabulary[name]
    near = get_close_matches(name, file.special_tokens or list(file.vocabulary), 1)
    hint = f": did you mean {near[0]}?" if near else f"{_candidates(file)}."
    raise DataError(
        f"{where} is {name}, which is not a token of {file.path}{hint} Set data.end_token or "
        "data.begin_token to a token of the vocabulary."
    )


def _candidates(file: TokenizerFile) -> str:
    names = file.special_tokens or [name for name in file.vocabulary if name[:1] in "<[" and name[-1:] in ">]"]
    shown = ", ".join(names[:_CANDIDATES]) + (", ..." if len(names) > _CANDIDATES else "")
    return f" (candidates: {shown})" if shown else ""


def _own_begin(file: TokenizerFile) -> str | None:
    """Return the spelling of the token that the tokenizer itself puts before a text."""
    settings = _settings(file)
    if settings.get("add_bos_token") and (stated := _spelling(settings.get("bos_token"))) is not None:
        return stated
    try:
        first = file.library().encode("a").ids[:1]
        plain = file.library().encode("a", add_special_tokens=False).ids[:1]
    except Exception:  # the library raises bare Exceptions; such a tokenizer is refused when it encodes
        return None
    return file.spelling(first[0]) if first and first != plain else None


def _checkpoint_eos(checkpoint: Path | None) -> tuple[int, ...]:
    """Return `eos_token_id` of a checkpoint's config.json; empty if there is none. Other faults are found elsewhere."""
    stated = _json(checkpoint / "config.json").get("eos_token_id") if checkpoint is not None else None
    ids = stated if isinstance(stated, list) else [stated]
    return tuple(token for token in ids if isinstance(token, int))


def _mismatch(
    file: TokenizerFile, end: int, checkpoint: Path | None, checkpoint_eos: tuple[int, ...], built: bool
) -> str | None:
    if not checkpoint_eos or end in checkpoint_eos:
        return None
    theirs, ours = " or ".join(map(file.spelling, checkpoint_eos)), file.spelling(end)
    fix = f"set data.end_token: {json.dumps(file.spelling(checkpoint_eos[0]))}"
    fix += " and build under another data.root" if built else ""
    return (
        f"documents end with {ours} (id {end}), but the EOS token of {checkpoint} is {theirs} (id "
        f"{', '.join(map(str, checkpoint_eos))}): {fix}; or, if the model shall learn {ours}, set eos_token_id to "
        f"{end} in its config.json"
    )


def _settings_path(file: TokenizerFile) -> Path:
    return file.path.with_name("tokenizer_config.json")


def _settings(file: TokenizerFile) -> dict[str, Any]:
    return _json(_settings_path(file))


def _json(path: Path) -> dict[str, Any]:
    """Return the object in a file; empty if there is no such file. Raises DataError if it is no JSON object."""
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Repair it, or move it away.") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: not a JSON object. Repair it, or move it away.")
    return found


def _spelling(value: object) -> str | None:
    """Return the spelling of a token of tokenizer_config.json, which is a string or an object with `content`."""
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None
