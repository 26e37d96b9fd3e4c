"""Instances of rehearsal (an input and an output), and the formats that write them as text and parse them.

`documents`: the first tokens of a document are the input, the rest is the output. `pairs`: the text of a document is
INPUT MARK input OUTPUT MARK output. Pure functions. Must not import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tokenizers import Tokenizer

from lrps.config.rehearsing import Synthesis

REPLACEMENT = "�"
"""Character that invalid UTF-8 is decoded to."""
SHINGLE = 5
"""Number of characters or words in the sequences by which instances are compared."""
BLANK_LINES = {"pairs": "\n\n", "documents": "\n\n\n"}
"""Default separators of demonstrations, by kind."""


class Instance(NamedTuple):
    """One piece of rehearsal data: an input, and the output that a model is trained to give."""

    input: str
    output: str


@dataclass(frozen=True)
class ParsedInstances:
    """The instances parsed from one generated text. dropped: number of dropped pieces by reason."""

    instances: tuple[Instance, ...]
    dropped: Counter[str]


class InstanceFormat(Protocol):
    """A textual form of instances."""

    def demonstration(self, text: str, longest_tokens: int) -> str | None:
        """Return a document as a demonstration of at most `longest_tokens` tokens, or None if it cannot be one."""

    def prompt(self, demonstrations: Sequence[str], separator: str) -> str:
        """Return the prompt of the base model."""

    def read(self, completion: str, ended: bool, separator: str) -> ParsedInstances:
        """Parse the instances that the base model wrote.

        ended: False if the completion was cut off at a limit. separator: the demonstrations' separator, which the model
        may repeat; it is not part of any instance.
        """

    def question(self, instance: Instance) -> str:
        """Return the prompt of the latest model for an instance."""

    def answered(self, instance: Instance, completion: str, ended: bool) -> ParsedInstances:
        """Return the instance with the output that the latest model wrote, if that is valid."""

    def text(self, instance: Instance) -> str:
        """Return the document that a model is trained on."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end an output of the latest model."""

    def message(self, instance: Instance) -> str:
        """Return the question to a latest model that is asked through its chat template."""

    def training_pair(self, text: str) -> Instance | None:
        """Return the pair of a training document; None if it is none."""

    def shingles(self, instance: Instance) -> frozenset[str]:
        """Return the set by which an instance is compared with others for near-duplicates."""


def instance_format(synthesis: Synthesis, tokenizer: Tokenizer, sequence_length: int) -> InstanceFormat:
    """Return the format of a synthesis. tokenizer: that of the data."""
    if synthesis.kind == "pairs":
        return PairFormat(synthesis, tokenizer, synthesis.max_pair_tokens or sequence_length)
    return DocumentFormat(tokenizer, synthesis.prefix_tokens)


def whole_text(text: str, ended: bool) -> str | None:
    """Return generated text without an incomplete character at its end; None if it is blank or has invalid bytes."""
    text = text if ended else text.rstrip(REPLACEMENT)
    return text if text.strip() and REPLACEMENT not in text else None


@dataclass(frozen=True)
class DocumentFormat:
    """The format of whole documents, for pre-training."""

    tokenizer: Tokenizer
    prefix_tokens: int

    def demonstration(self, text: str, longest_tokens: int) -> str | None:
        """Return the document, cut to `longest_tokens` tokens; None if it is blank."""
        return _first_tokens(self.tokenizer, text, longest_tokens) if text.strip() else None

    def prompt(self, demonstrations: Sequence[str], separator: str) -> str:
        return "".join(document + separator for document in demonstrations)

    def read(self, completion: str, ended: bool, separator: str) -> ParsedInstances:
        """Parse every document between separators."""
        pieces = completion.split(separator) if separator else [completion]
        if len(pieces) > 1 and not pieces[-1].strip():  # It ended with the separator.
            pieces, ended = pieces[:-1], True
        found = [self._document(piece, True) for piece in pieces[:-1]] + [self._document(pieces[-1], ended)]
        instances = tuple(instance for one in found for instance in one.instances)
        return ParsedInstances(instances, sum((one.dropped for one in found), Counter()))

    def _document(self, piece: str, ended: bool) -> ParsedInstances:
        if (text := whole_text(piece, ended)) is None:
            return _dropped("broken" if piece.strip() else "empty")
        prefix = _first_tokens(self.tokenizer, text, self.prefix_tokens)
        if not text[len(prefix) :].strip() or not prefix.strip():
            return _dropped("short")
        return ParsedInstances((Instance(prefix, text[len(prefix) :]),), Counter())

    def question(self, instance: Instance) -> str:
        return instance.input

    def answered(self, instance: Instance, completion: str, ended: bool) -> ParsedInstances:
        if (text := whole_text(completion, ended)) is None:
            return _dropped("broken" if completion.strip() else "empty")
        return ParsedInstances((Instance(instance.input, text),), Counter())

    def text(self, instance: Instance) -> str:
        return instance.input + instance.output

    stop = ()

    def message(self, instance: Instance) -> str:
        return instance.input

    def training_pair(self, text: str) -> Instance | None:
        del text  # No document is a pair.
        return None

    def shingles(self, instance: Instance) -> frozenset[str]:
        return word_shingles(self.text(instance))


@dataclass(frozen=True)
class PairFormat:
    """The format of pairs: a document has one input and one output, each after its mark."""

    synthesis: Synthesis
    tokenizer: Tokenizer
    longest_tokens: int

    def demonstration(self, text: str, longest_tokens: int) -> str | None:
        """Return the document's pair; None if it is not a pair, or too long, because half a pair is useless."""
        pair = self.training_pair(text)
        if pair is None or self._tokens(self.text(pair)) > longest_tokens:
            return None
        return self.text(pair)

    def prompt(self, demonstrations: Sequence[str], separator: str) -> str:
        parts = (self.synthesis.task, *demonstrations, self.synthesis.marks[0])
        return separator.join(part for part in parts if part)

    def read(self, completion: str, ended: bool, separator: str) -> ParsedInstances:
        """Parse every piece between input marks that has one input and one output; the prompt ended with a mark."""
        between = separator.strip()
        pieces = [piece.rstrip().removesuffix(between) for piece in completion.split(self.synthesis.marks[0])]
        instances, dropped = [], Counter[str]()
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            pair = self._pair(piece)
            if last and not ended:
                dropped["cut off"] += 1
            elif pair is None:
                dropped["no pair"] += 1
            elif REPLACEMENT in piece:
                dropped["broken"] += 1
            elif self._tokens(self.text(pair)) > self.longest_tokens:
                dropped["long"] += 1
            else:
                instances.append(pair)
        return ParsedInstances(tuple(instances), dropped)

    def question(self, instance: Instance) -> str:
        # Without the space at the end, which most tokenizers join with the next word.
        return (self.synthesis.input_mark + instance.input + self.synthesis.output_mark).rstrip()

    def answered(self, instance: Instance, completion: str, ended: bool) -> ParsedInstances:
        output, next_pair, _ = completion.partition(self.synthesis.marks[0])
        if not ended and not next_pair:
            return _dropped("cut off")
        pair = Instance(instance.input, output.strip())
        if not pair.output or self.synthesis.marks[1] in output:
            return _dropped("no pair" if pair.output else "empty")
        if REPLACEMENT in output:
            return _dropped("broken")
        return (
            _dropped("long")
            if self._tokens(self.text(pair)) > self.longest_tokens
            else ParsedInstances((pair,), Counter())
        )

    def text(self, instance: Instance) -> str:
        return self.synthesis.input_mark + instance.input + self.synthesis.output_mark + instance.output

    @property
    def stop(self) -> tuple[str, ...]:
        """The input mark, with which the next pair begins."""
        return (self.synthesis.marks[0],)

    def message(self, instance: Instance) -> str:
        """Return the task and the input, without the marks."""
        return f"{self.synthesis.task}\n\n{instance.input}".strip()

    def training_pair(self, text: str) -> Instance | None:
        before, _, rest = text.partition(self.synthesis.marks[0])
        return None if before.strip() else self._pair(rest)

    def shingles(self, instance: Instance) -> frozenset[str]:
        return character_shingles(instance.input)

    def _pair(self, piece: str) -> Instance | None:
        """Parse the text after an input mark as a pair."""
        parts = [part.strip() for part in piece.split(self.synthesis.marks[1])]
        if len(parts) != 2 or not all(parts) or self.synthesis.marks[0] in piece:
            return None
        return Instance(*parts)

    def _tokens(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


def remove_duplicates(instances: Sequence[Instance]) -> tuple[list[Instance], int]:
    """Return the distinct instances, in the order of their first occurrences, and the number of duplicates."""
    distinct = list(dict.fromkeys(instances))
    return distinct, len(instances) - len(distinct)


def normalized(text: str) -> str:
    """Return a text in one case, with one space in place of all blanks between words."""
    return " ".join(text.casefold().split())


def character_shingles(text: str) -> frozenset[str]:
    """Return the sequences of SHINGLE characters of a normalized text; a shorter text as a whole."""
    text = normalized(text)
    return frozenset(text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1)))


def word_shingles(text: str) -> frozenset[str]:
    """Return the sequences of SHINGLE words of a normalized text; a shorter text as a whole."""
    words = normalized(text).split()
    return frozenset(" ".join(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1)))


def _first_tokens(tokenizer: Tokenizer, text: str, count: int) -> str:
    """Return the text of the first `count` tokens, up to a whole character."""
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    return text if len(offsets) <= count else text[: offsets[count - 1][1]]


def _dropped(reason: str) -> ParsedInstances:
    return ParsedInstances((), Counter({reason: 1}))
