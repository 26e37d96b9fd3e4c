"""Encoding of the documents of one part of the text, with limits whose errors name file and document.

Must not import torch, webdataset or transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lrps.base.errors import DataError
from lrps.base.numbers import size
from lrps.config.data import LONGEST_DOCUMENT, UNKNOWN_SHARE
from lrps.config.pair_template import PairTemplate
from lrps.data.build.encode import Encoder, UnencodableTextError


@dataclass(frozen=True)
class TextLimits:
    """Limits of the text. longest: bytes of UTF-8 of a document.

    unknown: largest ratio of unk tokens and lost bytes to all tokens, in a part of the text.
    """

    longest: int = LONGEST_DOCUMENT
    unknown: float = UNKNOWN_SHARE


class Document(NamedTuple):
    """The text of one document. source: its file or range of a file; number: its place there, counted from 1."""

    source: object
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.source}, document {self.number:,}"


class PartEncoder:
    """An encoder of the documents of one part. unknown: id of the tokenizer's unk token, or None."""

    def __init__(self, encoder: Encoder, unknown: int | None, limits: TextLimits) -> None:
        self._encoder, self._unknown, self._limits = encoder, unknown, limits
        self._tokens = self._unknown_tokens = 0
        self.lost_bytes = 0
        """Number of bytes of text so far that the tokenizer dropped."""
        self._worst = (0, 0, "")
        """Number of unk tokens and lost bytes, number of tokens, and place of the document with most of them."""

    def encode(self, documents: Sequence[Document]) -> list[np.ndarray]:
        """Return the tokens of each document. Raises DataError for one that is too long or cannot be encoded."""
        for document in documents:
            self._refuse_too_long(document)
        try:
            encoded = self._encoder.encode([document.text for document in documents])
        except UnencodableTextError as error:
            raise DataError(f"{documents[error.number]}: {error}. Change the text, or use another tokenizer.") from None
        for document, tokens in zip(documents, encoded, strict=True):
            unknown = 0 if self._unknown is None else int(np.count_nonzero(tokens == self._unknown))
            self._count(document, len(tokens), unknown, self._encoder.lost_bytes(document.text))
        return encoded

    def targets(self, text: str, template: PairTemplate, tokens: int, text_bytes: int) -> tuple[int, int]:
        """Return the number of tokens and bytes of a document's targets: its output with the EOS token, or all of it.

        tokens, text_bytes: those of the document.
        """
        start = template.output_start(text)
        if start is None:
            return tokens, text_bytes
        return self._encoder.tokens_after(text, start), len(text[start:].encode())

    def finish(self) -> None:
        """Raise DataError if too many tokens of the part are unk, or too many bytes lost."""
        if self._unknown_tokens > self._limits.unknown * self._tokens:
            unknown, tokens, where = self._worst
            raise DataError(
                f"{where}: {unknown:,} of its {tokens:,} tokens are the unk token or were lost, as are "
                f"{self._unknown_tokens / self._tokens:.2%} of those of this part of the text; data.unknown_share "
                f"allows {self._limits.unknown:.2%}. Use a tokenizer for this text, or raise data.unknown_share."
            )

    def _refuse_too_long(self, document: Document) -> None:
        limit = self._limits.longest
        if 4 * len(document.text) > limit and (found := len(document.text.encode())) > limit:
            raise DataError(
                f"{document}: {size(found)} of text, more than data.longest_document allows ({size(limit)}). Cut it "
                "into shorter documents, or raise data.longest_document."
            )

    def _count(self, document: Document, tokens: int, unknown: int, lost: int) -> None:
        self._tokens += tokens
        self._unknown_tokens += unknown + lost
        self.lost_bytes += lost
        if unknown + lost > self._worst[0]:
            self._worst = unknown + lost, tokens, str(document)
