"""Counts of the documents of a part, or of a whole version: by split, and those that are left out.

Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

LOST = "lost_bytes"
"""Key in provenance of the number of bytes of text that the tokenizer dropped; absent if there are none."""
FIRST_BAD = 10
"""Number of bad documents that messages name."""


@dataclass
class Tally:
    """Counts of documents. They depend on the text only, not on who counted which part."""

    documents: Counter[str] = field(default_factory=Counter)
    """Number of documents by split."""
    tokens: Counter[str] = field(default_factory=Counter)
    """Number of tokens by split."""
    text_bytes: int = 0
    """UTF-8 bytes of the documents of all splits."""
    lost_bytes: int = 0
    """UTF-8 bytes of these documents that the tokenizer dropped."""
    empty: int = 0
    """Number of documents without a visible character, which are left out."""
    bad: Counter[str] = field(default_factory=Counter)
    """Number of documents that cannot be read, by kind, which are left out."""
    first_bad: list[str] = field(default_factory=list)
    """Descriptions of the first of these, at most FIRST_BAD."""

    def add_bad(self, kind: str, description: str) -> None:
        """Count a document that cannot be read."""
        self.bad[kind] += 1
        if len(self.first_bad) < FIRST_BAD:
            self.first_bad.append(description)

    @property
    def seen(self) -> int:
        """Number of all documents, also of those that are left out."""
        return self.documents.total() + self.empty + self.bad.total()

    @property
    def provenance(self) -> dict[str, Any]:
        """Entries in the manifest. Bad documents and lost bytes are named only if there are any."""
        bad = {"bad_documents": dict(sorted(self.bad.items()))} if self.bad else {}
        lost = {LOST: self.lost_bytes} if self.lost_bytes else {}
        return {"empty_documents": self.empty, **bad, **lost}

    def to_json(self) -> dict[str, Any]:
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Tally:
        """Return the tally that `to_json` has written."""
        return cls(**values | {name: Counter(values[name]) for name in ("documents", "tokens", "bad")})


def sum_tallies(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of the tallies of the parts of a version, in order."""
    result = Tally()
    for tally in tallies:
        result.documents.update(tally.documents)
        result.tokens.update(tally.tokens)
        result.text_bytes += tally.text_bytes
        result.lost_bytes += tally.lost_bytes
        result.empty += tally.empty
        result.bad.update(tally.bad)
        result.first_bad += tally.first_bad[: FIRST_BAD - len(result.first_bad)]
    return result
