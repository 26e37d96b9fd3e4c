"""The number of tokens of text that is not tokenized yet, measured on its beginning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrps.data.tokenizer import SMALLEST_VOCABULARY, read_tokenizer, trained_tokenizer

_SAMPLED_BYTES = 2 * 10**6
"""Bytes of text on which the rate is measured, and on which a tokenizer is trained for that."""


@dataclass(frozen=True)
class TokenRate:
    """The number of tokens in a byte of text, by the tokenizer of the data."""

    vocabulary: int
    """Number of tokens of the vocabulary."""
    per_byte: float
    """Number of tokens in a byte of text (UTF-8), without EOS tokens."""

    @property
    def is_exact(self) -> bool:
        """True if a token is a byte."""
        return self.vocabulary == SMALLEST_VOCABULARY

    def tokens(self, texts: Iterable[str]) -> float:
        """Return the number of tokens of documents, with an EOS token for each."""
        return sum(len(text.encode()) * self.per_byte + 1 for text in texts)


def trained_rate(texts: Sequence[str], vocabulary: int) -> TokenRate:
    """Return the rate of a byte-level BPE that is trained on text of this kind."""
    if vocabulary == SMALLEST_VOCABULARY:
        return TokenRate(vocabulary, 1.0)
    from tokenizers import Tokenizer

    sample = list(_beginning(texts))
    return _rate(Tokenizer.from_str(trained_tokenizer(sample, vocabulary).decode()), sample, vocabulary)


def rate_of(tokenizer: Path, texts: Sequence[str]) -> TokenRate:
    """Return the rate of a tokenizer.json. Raises DataError if it is none."""
    file = read_tokenizer(tokenizer)
    return _rate(file.library(), list(_beginning(texts)), max(file.vocabulary.values()) + 1)


def _rate(tokenizer: object, sample: Sequence[str], vocabulary: int) -> TokenRate:
    encoded = tokenizer.encode_batch(sample, add_special_tokens=False)  # type: ignore[attr-defined]
    return TokenRate(vocabulary, sum(map(len, encoded)) / sum(len(text.encode()) for text in sample))


def _beginning(texts: Iterable[str]) -> Iterator[str]:
    """Yield the first texts, up to _SAMPLED_BYTES; the last one is cut."""
    left = _SAMPLED_BYTES
    for text in texts:
        yield text[:left]
        left -= len(text.encode())
        if left <= 0:
            return
