"""The shape of a task: what all its training pairs have in common. Pure functions of texts. Must not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lrps.rehearsal.instances import Instance, normalized

FEWEST_PAIRS = 20
"""Smallest number of training pairs that have a shape; fewer have something in common by chance."""
PAIRS_PER_VALUE = 20
"""Mean number of pairs for every different output from which a task's outputs are a closed set."""


@dataclass(frozen=True)
class TextShape:
    """What several texts have in common."""

    beginning: str
    """Common beginning, in whole words."""
    end: str
    """Common end, in whole words."""
    characters: int
    """Length of the longest text."""
    lines: int
    """Number of lines of the text with most of them."""
    values: frozenset[str] | None = None
    """All texts, normalized, if they are a closed set; None if there are too many."""

    @classmethod
    def of(cls, texts: Sequence[str], *, closed: bool = False) -> TextShape:
        """Return the shape of at least one text. closed: whether few different texts are a closed set."""
        beginning = _whole_words(_common_beginning(texts), texts)
        reverse = [text[::-1] for text in texts]
        end = _whole_words(_common_beginning(reverse), reverse)[::-1]
        values = frozenset(map(normalized, texts))
        return cls(
            beginning,
            end,
            max(map(len, texts)),
            max(map(_lines, texts)),
            values if closed and len(values) * PAIRS_PER_VALUE <= len(texts) else None,
        )

    def fits(self, text: str) -> bool:
        """Return whether a text has this shape, as all those have of which it was made."""
        return (
            text.startswith(self.beginning)
            and text.endswith(self.end)
            and len(text) <= self.characters
            and _lines(text) <= self.lines
            and (self.values is None or normalized(text) in self.values)
        )


@dataclass(frozen=True)
class Shape:
    """The shape of a task's pairs. None: inputs or outputs of any shape."""

    input: TextShape | None = None
    output: TextShape | None = None

    @classmethod
    def of(cls, pairs: Iterable[Instance]) -> Shape:
        """Return the shape of training pairs; any shape if they are fewer than FEWEST_PAIRS."""
        known = list(pairs)
        if len(known) < FEWEST_PAIRS:
            return cls()
        return cls(
            TextShape.of([pair.input for pair in known]),
            TextShape.of([pair.output for pair in known], closed=True),
        )


ANY_SHAPE = Shape()


def _common_beginning(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    length = next((k for k, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:length]


def _lines(text: str) -> int:
    return text.count("\n") + 1


def _whole_words(beginning: str, texts: Sequence[str]) -> str:
    """Return the common beginning of texts up to a place where no text is inside of a word or number."""
    while beginning and any(
        len(text) > len(beginning) and beginning[-1].isalnum() and text[len(beginning)].isalnum() for text in texts
    ):
        beginning = beginning[:-1]
    return beginning
