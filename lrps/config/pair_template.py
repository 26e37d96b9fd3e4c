"""The template of instruction pairs: one text for documents, demonstrations, prompts of models and evaluation.

A pair has an input and an output, and may have the definition of its task. Pure functions of texts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

TASK, INPUT, OUTPUT = "{task}", "{input}", "{output}"
_PLACES = re.compile(r"\{task\}(?P<blank>\s*)|\{input\}|\{output\}")
_HOW = f"write it as '{TASK}\\n\\nInput: {INPUT}\\nOutput: {OUTPUT}', where {TASK} may be left out"


class PairText(NamedTuple):
    """The texts of one instruction pair."""

    input: str
    output: str
    task: str = ""
    """Definition of the task; empty if there is none."""


def fill(template: str, pair: PairText) -> str:
    """Return a template with the texts of a pair in place of {task}, {input} and {output}, wherever it has them.

    An empty task takes the blanks after its place with it. Texts are not searched for places.
    """

    def text_of(place: re.Match[str]) -> str:
        found = place.group()
        if found in (INPUT, OUTPUT):
            return pair.input if found == INPUT else pair.output
        return pair.task + place["blank"] if pair.task else ""

    return _PLACES.sub(text_of, template)


@dataclass(frozen=True)
class PairTemplate:
    """The text of a pair: an optional task, the input after its mark, and the output after its own."""

    input_mark: str
    """Text before the input, such as `Input: `."""
    output_mark: str
    """Text between the input and the output."""
    after_task: str | None = None
    """Blanks between the task and the input mark; None if the text of a pair has no task."""

    @classmethod
    def parse(cls, template: str) -> PairTemplate:
        """Return the template of a text with places. Raises ValueError that says what is wrong and how to write it."""
        if any(template.count(place) != 1 for place in (INPUT, OUTPUT)) or template.count(TASK) > 1:
            raise ValueError(f"a template has {INPUT} and {OUTPUT} once each; {_HOW}")
        before, _, rest = template.partition(INPUT)
        between, _, after = rest.partition(OUTPUT)
        head, task, input_mark = before.rpartition(TASK)
        if head or after or OUTPUT in before or TASK in rest:
            raise ValueError(f"a template begins with {TASK}, if it has one, and ends with {OUTPUT}; {_HOW}")
        mark = input_mark.lstrip() if task else input_mark
        found = cls(mark, between, input_mark[: len(input_mark) - len(mark)] if task else None)
        first, second = found.marks
        if not (first and second) or first in second or second in first:
            raise ValueError(
                f"the texts before {INPUT} and before {OUTPUT} need a visible character, and none is in the other; "
                + _HOW
            )
        return found

    @property
    def text(self) -> str:
        """The template as text with places, which `parse` reads."""
        return ("" if self.after_task is None else TASK + self.after_task) + self._pair

    @property
    def question(self) -> str:
        """The template of a prompt for an output: up to its place, without blanks at the end.

        Most tokenizers join a blank with the word after it, so that the model writes it.
        """
        return self.text.removesuffix(OUTPUT).rstrip()

    @property
    def marks(self) -> tuple[str, str]:
        """The two marks without surrounding blanks, which separate input and output in text that models write."""
        return self.input_mark.strip(), self.output_mark.strip()

    @property
    def _pair(self) -> str:
        return self.input_mark + INPUT + self.output_mark + OUTPUT

    def demonstration(self, pair: PairText) -> str:
        """Return the text of a pair without its task, which a prompt of several pairs has once."""
        return fill(self._pair, pair)

    def document(self, pair: PairText) -> str:
        """Return the text of a pair that a model is trained on."""
        return fill(self.text, pair)

    def read(self, document: str) -> PairText | None:
        """Return the pair of a document; None if it has not each mark once, or nothing after one of them.

        What is before the first mark is the task; None as well if the template has no place for it.
        """
        task, found, rest = document.partition(self.marks[0])
        if not found or self.marks[0] in rest or rest.count(self.marks[1]) != 1:
            return None
        given, _, wanted = (part.strip() for part in rest.partition(self.marks[1]))
        if not (given and wanted) or (task.strip() and self.after_task is None):
            return None
        return PairText(given, wanted, task.strip())

    def output_start(self, document: str) -> int | None:
        """Return the number of characters before the output of a document's pair; None if it is no pair."""
        if self.read(document) is None:
            return None
        after = document.index(self.marks[1], document.index(self.marks[0])) + len(self.marks[1])
        return len(document) - len(document[after:].lstrip())
