"""Training of a byte-level BPE tokenizer, and loading of any `tokenizer.json` with its identity.

Only this module and `data/build/tokenize.py` use the tokenizers library. Must not import torch or transformers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lrps.base.errors import ConfigError, DataError
from lrps.base.files import atomic_write_bytes
from lrps.data.manifest import TokenizerIdentity

TRAINED_EOS = "<|endoftext|>"
"""EOS token of the tokenizers that are trained here."""
EOS_TOKENS = (TRAINED_EOS, "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<|eos|>")
"""Spellings of the EOS token that are recognized in a tokenizer, in order of preference."""

SMALLEST_VOCABULARY = 257
"""The 256 bytes and the EOS token, without merges."""


def train_tokenizer(texts: Iterable[str], vocabulary: int, path: Path) -> TokenizerIdentity:
    """Train a byte-level BPE of up to `vocabulary` tokens, save it to `path` and return its identity.

    Equal texts give an equal file. Small texts may have too few pairs of bytes for a vocabulary of this size, which is
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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, tokenizer.to_str(pretty=True).encode())
    return load_tokenizer(path)[1]


def load_tokenizer(path: Path) -> tuple[Tokenizer, TokenizerIdentity]:
    """Load a `tokenizer.json`; return it with its identity: hash of the file, vocabulary size and EOS token.

    Raises DataError if the file cannot be read, is no tokenizer or has none of EOS_TOKENS.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read a tokenizer ({error.strerror}). Give a tokenizer.json file.") from None
    try:
        tokenizer = Tokenizer.from_str(data.decode())
    except Exception as error:  # the library raises bare Exceptions
        raise DataError(f"{path}: not a tokenizer.json ({error}). Save it again with `Tokenizer.save`.") from None
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    eos = next((vocabulary[token] for token in EOS_TOKENS if token in vocabulary), None)
    if eos is None:
        raise DataError(f"{path}: the tokenizer has no EOS token. Add one of {', '.join(EOS_TOKENS)} to it.")
    identity = TokenizerIdentity(
        name=path.stem,
        sha256=hashlib.sha256(data).hexdigest(),
        vocabulary=max(vocabulary.values()) + 1,
        eos=eos,
    )
    return tokenizer, identity
