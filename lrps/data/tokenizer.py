"""A `tokenizer.json`: its identity, its contents, and the library's tokenizer for it; training of a byte-level BPE.

Every tokenizer of lrps is loaded here. Settings in the file that cut, pad or randomize tokens are switched off.
Must not import torch or transformers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lrps.base.errors import ConfigError, DataError
from lrps.base.files import atomic_write_bytes, located
from lrps.base.foreign_json import parse_json, read_bounded
from lrps.config.model_directory import refuse_lfs_pointer
from lrps.data.manifest import TokenizerIdentity

LARGEST_TOKENIZER = 2**28
"""Largest size of a tokenizer.json in bytes."""
TRAINED_EOS = "<|endoftext|>"
"""EOS token of the tokenizers that are trained here."""

SMALLEST_VOCABULARY = 257
"""The 256 bytes and the EOS token, without merges."""


@dataclass(frozen=True)
class TokenizerFile:
    """The content of a `tokenizer.json`. sha256: that of the file. contents: its JSON value."""

    path: Path
    sha256: str
    contents: Mapping[str, Any]

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Id of every token by its spelling, with the added tokens."""
        return self.library().get_vocab(with_added_tokens=True)

    def spelling(self, token: int) -> str:
        """Return the spelling of a token for messages; `id 7` if the vocabulary has no such token."""
        return next((name for name, number in self.vocabulary.items() if number == token), f"id {token}")

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Spellings of the added tokens that are marked as special, in the order of the file."""
        return tuple(token["content"] for token in self.contents.get("added_tokens") or () if token.get("special"))

    @property
    def unknown(self) -> int | None:
        """Id of the unk token, which replaces text outside the vocabulary; None if the model has none."""
        model = self.contents["model"]
        if "unk_id" in model:
            found: int | None = model["unk_id"]
            return found
        return self.vocabulary.get(model.get("unk_token") or "")

    @property
    def ignored_settings(self) -> tuple[str, ...]:
        """Names of the settings in the file that are switched off: `truncation`, `padding`, `dropout`."""
        found = {**self.contents, "dropout": self.contents["model"].get("dropout")}
        return tuple(name for name in ("truncation", "padding", "dropout") if found.get(name))

    @property
    def effective(self) -> dict[str, Any]:
        """The contents without the ignored settings."""
        off = dict.fromkeys(self.ignored_settings)
        model = self.contents["model"]
        return {
            key: {**model, "dropout": None} if key == "model" and "dropout" in off else off.get(key, value)
            for key, value in self.contents.items()
        }

    def identity(self, eos: int) -> TokenizerIdentity:
        """Return the identity of the tokenizer in manifests. eos: id of the EOS token."""
        return TokenizerIdentity(self.path.stem, self.sha256, max(self.vocabulary.values()) + 1, eos)

    def library(self, spellings: Mapping[str, str] | None = None) -> Tokenizer:
        """Return the library's tokenizer without truncation, padding and dropout; ids are those of the file.

        spellings: new spellings of tokens, by the old ones. Text never gives a token whose spelling no text contains.
        Raises DataError if the library cannot read it.
        """
        contents = _renamed(self.effective, spellings) if spellings else self.effective
        try:
            return Tokenizer.from_str(json.dumps(contents, ensure_ascii=False))
        except Exception as error:  # the library raises bare Exceptions
            raise _not_a_tokenizer(self.path, error) from None


def read_tokenizer(path: Path) -> TokenizerFile:
    """Read a `tokenizer.json`. Raises DataError if it cannot be read or is no tokenizer."""
    path = Path(path)
    try:
        data = read_bounded(path, LARGEST_TOKENIZER, "give a tokenizer.json file")
    except OSError as error:
        raise DataError(
            f"{located(path)}: cannot read a tokenizer ({error.strerror}). Give a tokenizer.json file."
        ) from None
    refuse_lfs_pointer(path, "data.tokenizer")
    try:
        contents = parse_json(data, "the tokenizer", largest=LARGEST_TOKENIZER)
    except ValueError as error:
        raise _not_a_tokenizer(path, error) from None
    if not (isinstance(contents.get("model"), dict) and "vocab" in contents["model"]):
        raise _not_a_tokenizer(path, "it has no model with a vocabulary")
    file = TokenizerFile(path, hashlib.sha256(data).hexdigest(), contents)
    if not file.vocabulary:
        raise _not_a_tokenizer(path, "its vocabulary is empty")
    return file


def train_tokenizer(texts: Iterable[str], vocabulary: int, path: Path) -> TokenizerIdentity:
    """Train a tokenizer as `trained_tokenizer`, save it to `path` and return its identity."""
    path = Path(path)
    content = trained_tokenizer(texts, vocabulary)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, content)
    file = read_tokenizer(path)
    return file.identity(file.vocabulary[TRAINED_EOS])


def trained_tokenizer(texts: Iterable[str], vocabulary: int) -> bytes:
    """Train a byte-level BPE of up to `vocabulary` tokens and return the content of its `tokenizer.json`.

    Equal texts give equal bytes. Small texts may have too few pairs of bytes for a vocabulary of this size, which is
    smaller then. Raises ConfigError if `vocabulary` is below 257.
    """
    if vocabulary < SMALLEST_VOCABULARY:
        raise ConfigError(f"a vocabulary of {vocabulary} cannot hold all bytes and an EOS token: use 257 or more")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[TRAINED_EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return bytes(tokenizer.to_str(pretty=True).encode())


def _renamed(contents: Mapping[str, Any], spellings: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON value of a tokenizer with other spellings of some tokens, which keep their ids."""
    model = dict(contents["model"])
    vocabulary = model["vocab"]
    if isinstance(vocabulary, Mapping):
        model["vocab"] = {spellings.get(name, name): token for name, token in vocabulary.items()}
    else:
        model["vocab"] = [[spellings.get(name, name), score] for name, score in vocabulary]
    if model.get("unk_token") in spellings:
        model["unk_token"] = spellings[model["unk_token"]]
    if model.get("merges"):
        # Pairs that make a renamed token, or are made of it, would name a token that no longer exists.
        prefix = model.get("continuing_subword_prefix") or ""
        model["merges"] = [pair for pair in model["merges"] if spellings.keys().isdisjoint(_tokens_of(pair, prefix))]
    added = [
        {**token, "content": spellings.get(token["content"], token["content"])}
        for token in contents.get("added_tokens") or ()
    ]
    return {**contents, "model": model, "added_tokens": added}


def _tokens_of(merge: Any, prefix: str) -> tuple[str, str, str]:
    """Return both parts of a merge and the token that they make. merge: a list, or `left right` in old files."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right, left + right.removeprefix(prefix)


def _not_a_tokenizer(path: Path, error: object) -> DataError:
    return DataError(f"{path}: not a tokenizer.json ({error}). Save it again with `Tokenizer.save`.")
