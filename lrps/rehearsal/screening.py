"""Screening of instances: copies of training inputs, inputs or outputs of another shape, and near-duplicates.

Every instance is judged by those before it only, so that more generations never change what was kept of the first ones.
Pure functions. Must not import torch.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lrps.rehearsal.instances import Instance, character_shingles, normalized

COPY, NEAR, INPUT_SHAPE, OUTPUT_SHAPE = "copies of training inputs", "near-duplicates", "input shape", "output shape"
"""Reasons for which an instance is dropped, beside those of its text."""
FEWEST_PAIRS = 20
"""Smallest number of training pairs that have a shape; fewer have something in common by chance."""
PAIRS_PER_VALUE = 20
"""Mean number of pairs for every different output from which a task's outputs are a closed set."""


@dataclass(frozen=True)
class TextShape:
    """Properties that several texts have in common."""

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
class PairShape:
    """The shape of a task's pairs. None: inputs or outputs of any shape."""

    input: TextShape | None = None
    output: TextShape | None = None

    @classmethod
    def of(cls, pairs: Iterable[Instance]) -> PairShape:
        """Return the shape of training pairs; any shape if they are fewer than FEWEST_PAIRS."""
        known = list(pairs)
        if len(known) < FEWEST_PAIRS:
            return cls()
        return cls(
            TextShape.of([pair.input for pair in known]),
            TextShape.of([pair.output for pair in known], closed=True),
        )


ANY_SHAPE = PairShape()


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


@dataclass(frozen=True)
class Screen:
    """The rules by which instances are dropped before their outputs are written again."""

    training_inputs: Collection[str] = frozenset()
    """Normalized inputs that no instance may have."""
    shape: PairShape = ANY_SHAPE
    """Shape that inputs and outputs need."""
    near_duplicates: float | None = None
    """Smallest Jaccard index of near-duplicates; None keeps them."""
    shingles: Callable[[Instance], frozenset[str]] = field(default=lambda one: character_shingles(one.input))
    """Function that returns the set by which an instance is compared with others."""

    def verdicts(self, instances: Sequence[Instance]) -> list[str | None]:
        """Return the reason to drop each instance, None to keep it. Exact duplicates are expected to be gone."""
        seen = NearDuplicates(self.near_duplicates) if self.near_duplicates is not None else None
        found = []
        for one in instances:
            reason: str | None = None
            if normalized(one.input) in self.training_inputs:
                reason = COPY
            elif self.shape.input is not None and not self.shape.input.fits(one.input):
                reason = INPUT_SHAPE
            elif seen is not None and not seen.add(self.shingles(one)):
                reason = NEAR
            found.append(reason)
        return found

    def output_fits(self, instance: Instance) -> bool:
        """Return whether an instance has an output of the task's shape."""
        return self.shape.output is None or self.shape.output.fits(instance.output)


def screened(instances: Sequence[Instance], screen: Screen) -> tuple[list[Instance], Counter[str]]:
    """Return the instances that are kept, in their order, and the numbers of dropped ones by reason."""
    verdicts = screen.verdicts(instances)
    kept = [one for one, reason in zip(instances, verdicts, strict=True) if reason is None]
    return kept, Counter(reason for reason in verdicts if reason is not None)


def agrees(one: Instance, other: Instance) -> bool:
    """Return whether two outputs are equal but for case and blanks."""
    return normalized(one.output) == normalized(other.output)


class NearDuplicates:
    """The sets that were kept so far, none of which is similar to another.

    By prefix filtering (Bayardo et al. 2007): in any fixed order of all elements, two sets with a Jaccard index of at
    least t have one in common among the first |x| - ceil(t |x|) + 1 of each. Elements are 32-bit hashes.
    """

    def __init__(self, threshold: float) -> None:
        """Begin without sets. threshold: smallest Jaccard index of similar sets, above 0."""
        self._threshold = threshold - 1e-9
        self._kept: list[np.ndarray] = []
        self._by_element: dict[int, list[int]] = defaultdict(list)

    def add(self, texts: Collection[str]) -> bool:
        """Keep a set of at least one text unless it is similar to one that was kept; return whether it is kept."""
        elements = np.unique(np.array([zlib.crc32(text.encode()) for text in texts], np.uint32))
        first = elements[: len(elements) - math.ceil(self._threshold * len(elements)) + 1].tolist()
        for number in {number for element in first for number in self._by_element.get(element, ())}:
            if jaccard(elements, self._kept[number]) >= self._threshold:
                return False
        for element in first:
            self._by_element[element].append(len(self._kept))
        self._kept.append(elements)
        return True


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Return the size of the intersection over that of the union of two arrays of different elements."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)
