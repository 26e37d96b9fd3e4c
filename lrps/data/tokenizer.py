"""Tokenizers: training a byte-level BPE, and loading any `tokenizer.json` with its identity.

One of the two modules that use the tokenizers library (with tokenize). Must not import torch or transformers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lrps.base.errors import ConfigError, DataError
from lrps.base.files import atomic_write_bytes
from lrps.data.manifest import TokenizerIdentity

END_OF_TEXT = "<|endoftext|>"
END_MARKS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "<|eos|>")
"""What tokenizers call the end of a document, most trusted first."""

SMALLEST_VOCABULARY = 257


def train_tokenizer(texts: Iterable[str], vocabulary: int, path: Path) -> TokenizerIdentity:
    """Train a byte-level BPE of up to `vocabulary` tokens and save it; equal texts give an equal file.

    257 is the least: the bytes and the end mark, without merges. Small texts may not hold enough pairs for more.
    """
    if vocabulary < SMALLEST_VOCABULARY:
        raise ConfigError(f"a vocabulary of {vocabulary} cannot hold all bytes and an end mark: use 257 or more")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, tokenizer.to_str(pretty=True).encode())
    return load_tokenizer(path)[1]


def load_tokenizer(path: Path) -> tuple[Tokenizer, TokenizerIdentity]:
    """The tokenizer in a `tokenizer.json` and its identity: the hash of the file, its size and its end mark."""
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
    eos = next((vocabulary[mark] for mark in END_MARKS if mark in vocabulary), None)
    if eos is None:
        raise DataError(f"{path}: no token marks the end of a document. Add one of {', '.join(END_MARKS)} to it.")
    identity = TokenizerIdentity(
        name=path.stem,
        sha256=hashlib.sha256(data).hexdigest(),
        vocabulary=max(vocabulary.values()) + 1,
        eos=eos,
    )
    return tokenizer, identity
