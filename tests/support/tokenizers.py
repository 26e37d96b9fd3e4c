"""Tokenizer files for tests: loading one of them, and small ones of every family of the library."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from lrps.data.data_tokenizer import open_tokenizer
from lrps.data.manifest import TokenizerIdentity


def load_tokenizer(path: Path) -> tuple[Tokenizer, TokenizerIdentity]:
    """Return the library's tokenizer of a file, and its identity."""
    found = open_tokenizer(path)
    return found.library, found.identity


TEXT = "the quick brown fox jumps over the lazy dog 0123456789 .,;:!?<>/|_-()\n\t'\"éü漢字 </s> <s>"
SENTENCES = [TEXT, "one two three", "a line\nand another  one", "x = f(y)  # <|endoftext|>"] * 3


def _trained(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def byte_bpe(special: list[str]) -> Tokenizer:
    """Byte-level BPE, as GPT-2 and its followers have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return _trained(
        tokenizer, trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
