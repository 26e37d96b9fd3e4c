"""An instance of rehearsal: an input and an output. How instances become prompts and text, and text instances. Pure.

`documents`: the first tokens of a document are the input, what follows is the output. `pairs`: the text of a document
is INPUT MARK input OUTPUT MARK output. Must not import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tokenizers import Tokenizer

from lrps.config.rehearsing import Synthesis

BROKEN = "�"
"""What bytes that are no UTF-8 are decoded to."""
BLANK_LINES = {"pairs": "\n\n", "documents": "\n\n\n"}
"""What stands between demonstrations where nothing else does."""


class Instance(NamedTuple):
    """What is rehearsed: `output` is what a model is to say to `input`."""

    input: str
    output: str


@dataclass(frozen=True)
class ParsedInstance:
    """What was made of generated text. dropped: reason -> pieces."""

    instances: tuple[Instance, ...]
    dropped: Counter[str]


class InstanceFormat(Protocol):
    """One kind of instance."""

    def demonstration(self, text: str, longest_tokens: int) -> str | None:
        """A document as it stands in a prompt, of at most so many tokens; None if it cannot be one."""

    def prompt(self, demonstrations: Sequence[str], separator: str) -> str:
        """What the base model goes on after."""

    def read(self, completion: str, ended: bool, separator: str) -> ParsedInstance:
        """The instances in what the base model wrote. ended: by itself, not cut off at a limit. separator: of the
        demonstrations, which the model may go on with; it is no part of any instance."""

    def question(self, instance: Instance) -> str:
        """What the latest model goes on after."""

    def answered(self, instance: Instance, completion: str, ended: bool) -> ParsedInstance:
        """The instance with the output that the latest model wrote, if there is one."""

    def text(self, instance: Instance) -> str:
        """The document that a model is trained on."""


def form_of(synthesis: Synthesis, tokenizer: Tokenizer, sequence_length: int) -> InstanceFormat:
    """tokenizer: of the data."""
    if synthesis.kind == "pairs":
        return Pairs(synthesis, tokenizer, synthesis.max_pair_tokens or sequence_length)
    return Documents(tokenizer, synthesis.prefix_tokens)


def whole_text(text: str, ended: bool) -> str | None:
    """Generated text without a character that was cut off at its end; None if there is no text, or it is broken."""
    text = text if ended else text.rstrip(BROKEN)
    return text if text.strip() and BROKEN not in text else None


@dataclass(frozen=True)
class Documents:
    """Whole documents, for pre-training."""

    tokenizer: Tokenizer
    prefix_tokens: int

    def demonstration(self, text: str, longest_tokens: int) -> str | None:
        """The beginning of a document that is longer."""
        return _first_tokens(self.tokenizer, text, longest_tokens) if text.strip() else None

    def prompt(self, demonstrations: Sequence[str], separator: str) -> str:
        return "".join(document + separator for document in demonstrations)

    def read(self, completion: str, ended: bool, separator: str) -> ParsedInstance:
        """Every document between separators."""
        pieces = completion.split(separator) if separator else [completion]
        if len(pieces) > 1 and not pieces[-1].strip():  # It ended with the separator.
            pieces, ended = pieces[:-1], True
        found = [self._document(piece, True) for piece in pieces[:-1]] + [self._document(pieces[-1], ended)]
        instances = tuple(instance for one in found for instance in one.instances)
        return ParsedInstance(instances, sum((one.dropped for one in found), Counter()))

    def _document(self, piece: str, ended: bool) -> ParsedInstance:
        if (text := whole_text(piece, ended)) is None:
            return _dropped("broken" if piece.strip() else "empty")
        prefix = _first_tokens(self.tokenizer, text, self.prefix_tokens)
        if not text[len(prefix) :].strip() or not prefix.strip():
            return _dropped("short")
        return ParsedInstance((Instance(prefix, text[len(prefix) :]),), Counter())

    def question(self, instance: Instance) -> str:
        return instance.input

    def answered(self, instance: Instance, completion: str, ended: bool) -> ParsedInstance:
        if (text := whole_text(completion, ended)) is None:
            return _dropped("broken" if completion.strip() else "empty")
        return ParsedInstance((Instance(instance.input, text),), Counter())

    def text(self, instance: Instance) -> str:
        return instance.input + instance.output


@dataclass(frozen=True)
class Pairs:
    """Pairs of an input and an output, in documents of their own."""

    synthesis: Synthesis
    tokenizer: Tokenizer
    longest_tokens: int

    def demonstration(self, text: str, longest_tokens: int) -> str | None:
        """None for a document that is no pair, or too long: half a pair is none."""
        before, _, rest = text.partition(self.synthesis.marks[0])
        pair = None if before.strip() else self._pair(rest)
        if pair is None or self._tokens(self.text(pair)) > longest_tokens:
            return None
        return self.text(pair)

    def prompt(self, demonstrations: Sequence[str], separator: str) -> str:
        parts = (self.synthesis.task, *demonstrations, self.synthesis.marks[0])
        return separator.join(part for part in parts if part)

    def read(self, completion: str, ended: bool, separator: str) -> ParsedInstance:
        """Every piece between input marks that is exactly one input and one output; the prompt ended in such a mark."""
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
            elif BROKEN in piece:
                dropped["broken"] += 1
            elif self._tokens(self.text(pair)) > self.longest_tokens:
                dropped["long"] += 1
            else:
                instances.append(pair)
        return ParsedInstance(tuple(instances), dropped)

    def question(self, instance: Instance) -> str:
        # Without the blank at its end, which most tokenizers take for the beginning of the next word.
        return (self.synthesis.input_mark + instance.input + self.synthesis.output_mark).rstrip()

    def answered(self, instance: Instance, completion: str, ended: bool) -> ParsedInstance:
        output, next_pair, _ = completion.partition(self.synthesis.marks[0])
        if not ended and not next_pair:
            return _dropped("cut off")
        pair = Instance(instance.input, output.strip())
        if not pair.output or self.synthesis.marks[1] in output:
            return _dropped("no pair" if pair.output else "empty")
        if BROKEN in output:
            return _dropped("broken")
        return (
            _dropped("long")
            if self._tokens(self.text(pair)) > self.longest_tokens
            else ParsedInstance((pair,), Counter())
        )

    def text(self, instance: Instance) -> str:
        return self.synthesis.input_mark + instance.input + self.synthesis.output_mark + instance.output

    def _pair(self, piece: str) -> Instance | None:
        """The text after an input mark as a pair."""
        parts = [part.strip() for part in piece.split(self.synthesis.marks[1])]
        if len(parts) != 2 or not all(parts) or self.synthesis.marks[0] in piece:
            return None
        return Instance(*parts)

    def _tokens(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


def without_duplicates(instances: Sequence[Instance]) -> tuple[list[Instance], int]:
    """Every instance once, in the order in which they came first; and how many were dropped."""
    distinct = list(dict.fromkeys(instances))
    return distinct, len(instances) - len(distinct)


def _first_tokens(tokenizer: Tokenizer, text: str, count: int) -> str:
    """The text of its first tokens, up to a whole character; all of it if there are no more."""
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    return text if len(offsets) <= count else text[: offsets[count - 1][1]]


def _dropped(reason: str) -> ParsedInstance:
    return ParsedInstance((), Counter({reason: 1}))
