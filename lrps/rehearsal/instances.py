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

from lrps.config.data import DataConfig
from lrps.config.pair_template import PairTemplate, PairText, fill
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


class Piece(NamedTuple):
    """A part of a generated text that was read as one instance, or the reason for which it is none."""

    text: str
    instance: Instance | None
    dropped: str | None = None


class InstanceFormat(Protocol):
    """A textual form of instances."""

    def demonstration(self, text: str, longest_tokens: int) -> str | None:
        """Return a document as a demonstration of at most `longest_tokens` tokens, or None if it cannot be one."""

    def prompt(self, demonstrations: Sequence[str], separator: str) -> str:
        """Return the prompt of the base model."""

    def pieces(self, completion: str, ended: bool, separator: str) -> list[Piece]:
        """Return the pieces of a text that the base model wrote, each with its instance or the reason to drop it.

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


def instance_format(
    synthesis: Synthesis, tokenizer: Tokenizer, data: DataConfig, *, keeps_closed: bool = True
) -> InstanceFormat:
    """Return the format of a synthesis. tokenizer: that of the data. data: its section of the config.

    keeps_closed: keep a last pair that is not ended if the separator closes it.
    """
    if synthesis.kind == "pairs":
        template = data.pair_template(synthesis) or synthesis.marked_template
        longest = synthesis.max_pair_tokens or data.sequence_length
        return PairFormat(template, synthesis.task, tokenizer, longest, keeps_closed)
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

    def pieces(self, completion: str, ended: bool, separator: str) -> list[Piece]:
        """Return every text between separators as a document."""
        pieces = completion.split(separator) if separator else [completion]
        if len(pieces) > 1 and not pieces[-1].strip():  # It ended with the separator.
            pieces, ended = pieces[:-1], True
        return [self._document(piece, True) for piece in pieces[:-1]] + [self._document(pieces[-1], ended)]

    def _document(self, piece: str, ended: bool) -> Piece:
        if (text := whole_text(piece, ended)) is None:
            return Piece(piece, None, "broken" if piece.strip() else "empty")
        prefix = _first_tokens(self.tokenizer, text, self.prefix_tokens)
        if not text[len(prefix) :].strip() or not prefix.strip():
            return Piece(piece, None, "short")
        return Piece(piece, Instance(prefix, text[len(prefix) :]))

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

    template: PairTemplate
    task: str
    """Definition of the task, once in a prompt, and in every document if the template has a place for it."""
    tokenizer: Tokenizer
    longest_tokens: int
    keeps_closed: bool = True
    """Whether a last pair that is not ended is kept if the separator closes it."""

    def demonstration(self, text: str, longest_tokens: int) -> str | None:
        """Return the pair of a document, without its task.

        None if it is not a pair of the task, or too long, because half a pair is useless.
        """
        if (found := self._training_text(text)) is None:
            return None
        shown = self.template.demonstration(found)
        return shown if self._tokens(shown) <= longest_tokens else None

    def prompt(self, demonstrations: Sequence[str], separator: str) -> str:
        parts = (self.task, *demonstrations, self.template.marks[0])
        return separator.join(part for part in parts if part)

    def pieces(self, completion: str, ended: bool, separator: str) -> list[Piece]:
        """Return every text between input marks, a pair if it has one input and one output; the prompt ended with a
        mark."""
        between = separator.strip()
        *pieces, last = completion.split(self.template.marks[0])
        closed = last if ended else self._closed(last, separator) if self.keeps_closed else None
        if closed is not None:
            pieces.append(closed)
        found = [self._piece(piece.rstrip().removesuffix(between)) for piece in pieces]
        return found if closed is not None else [*found, Piece(last, None, "cut off")]

    def _piece(self, text: str) -> Piece:
        if (pair := self._pair(text)) is None:
            return Piece(text, None, "no pair")
        if REPLACEMENT in text:
            return Piece(text, None, "broken")
        too_long = self._tokens(self.text(pair)) > self.longest_tokens
        return Piece(text, None, "long") if too_long else Piece(text, pair)

    def _closed(self, piece: str, separator: str) -> str | None:
        """Return the part of an unfinished piece that the separator closes; None if none does.

        A visible separator closes it anywhere. Blanks may be a part of an output: they close it at the end only, where
        the beginning of the next mark may follow.
        """
        if separator.strip():
            before, closed, _ = piece.partition(separator)
            return before if closed else None
        mark = self.template.marks[0]
        ends = (separator + mark[:length] for length in range(len(mark) - 1, -1, -1)) if separator else ()
        return next((piece.removesuffix(end) for end in ends if piece.endswith(end)), None)

    def question(self, instance: Instance) -> str:
        return fill(self.template.question, PairText(instance.input, "", self.task))

    def answered(self, instance: Instance, completion: str, ended: bool) -> ParsedInstances:
        output, next_pair, _ = completion.partition(self.template.marks[0])
        if not ended and not next_pair:
            return _dropped("cut off")
        pair = Instance(instance.input, output.strip())
        if not pair.output or self.template.marks[1] in output:
            return _dropped("no pair" if pair.output else "empty")
        if REPLACEMENT in output:
            return _dropped("broken")
        return (
            _dropped("long")
            if self._tokens(self.text(pair)) > self.longest_tokens
            else ParsedInstances((pair,), Counter())
        )

    def text(self, instance: Instance) -> str:
        return self.template.document(PairText(instance.input, instance.output, self.task))

    @property
    def stop(self) -> tuple[str, ...]:
        """The input mark, with which the next pair begins."""
        return (self.template.marks[0],)

    def message(self, instance: Instance) -> str:
        """Return the task and the input, without the marks."""
        return f"{self.task}\n\n{instance.input}".strip()

    def training_pair(self, text: str) -> Instance | None:
        found = self._training_text(text)
        return None if found is None else Instance(found.input, found.output)

    def shingles(self, instance: Instance) -> frozenset[str]:
        return character_shingles(instance.input)

    def _training_text(self, text: str) -> PairText | None:
        """Return the texts of a document that is a pair of the task."""
        found = self.template.read(text)
        other = found is not None and self.template.after_task is not None and found.task != self.task.strip()
        return None if other else found

    def _pair(self, piece: str) -> Instance | None:
        """Parse the text after an input mark as a pair."""
        found = self.template.read(self.template.marks[0] + piece)
        return None if found is None else Instance(found.input, found.output)

    def _tokens(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


def parsed(pieces: Sequence[Piece]) -> ParsedInstances:
    """Return the instances of pieces, and the numbers of dropped ones by reason."""
    instances = tuple(piece.instance for piece in pieces if piece.instance is not None)
    return ParsedInstances(instances, Counter(piece.dropped for piece in pieces if piece.dropped is not None))


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
