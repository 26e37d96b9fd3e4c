"""Candidates of a set: distinct instances with their final outputs, and the counts of those that are dropped. Pure.

Must not import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lrps.rehearsal.instances import Instance, InstanceFormat, remove_duplicates
from lrps.rehearsal.screening import OUTPUT_SHAPE, Screen, agrees

DISAGREED = "outputs on which the models disagree"


class Candidate(NamedTuple):
    """An instance that may be selected. tokens: number of its document's tokens, including the EOS token."""

    input: str
    output: str
    tokens: int

    @property
    def instance(self) -> Instance:
        return Instance(self.input, self.output)


class RefinedOutput(NamedTuple):
    """Output that the latest model wrote, and whether it ended it."""

    text: str
    ended: bool


class Refined(NamedTuple):
    """An instance with its final output, or the reason for which it is dropped. agreed: both models wrote it."""

    instance: Instance
    dropped: str | None = None
    agreed: bool | None = None


@dataclass(frozen=True)
class CandidateRules:
    """The rules by which instances become candidates."""

    form: InstanceFormat
    screen: Screen
    agree: bool
    """Whether both models have to write the same output."""
    heldout: Callable[[str], bool]
    """Function that returns whether a document is held out."""

    def refined(self, instance: Instance, answer: RefinedOutput | None) -> Refined:
        """Return an instance with the latest model's output. answer: None keeps that of the base model."""
        found, agreed = instance, None
        if answer is not None:
            valid = self.form.answered(instance, answer.text, answer.ended)
            if not valid.instances:
                (reason,) = valid.dropped
                return Refined(instance, reason)
            (found,) = valid.instances
            agreed = agrees(instance, found)
        if not self.screen.output_fits(found):
            return Refined(found, OUTPUT_SHAPE, agreed)
        return Refined(found, DISAGREED if self.agree and not agreed else None, agreed)

    def candidates(
        self, instances: Sequence[Instance], answers: Sequence[RefinedOutput] | None
    ) -> tuple[dict[str, Any], list[Instance]]:
        """Return the counts of the stage, and the distinct instances that are not held out."""
        given = [None] * len(instances) if answers is None else answers
        found = [self.refined(one, answer) for one, answer in zip(instances, given, strict=True)]
        distinct, doubled = remove_duplicates([one.instance for one in found if one.dropped is None])
        trained = [instance for instance in distinct if not self.heldout(self.form.text(instance))]
        counts = {
            "dropped": dict(sorted(Counter(one.dropped for one in found if one.dropped is not None).items())),
            "duplicates": doubled,
            "held_out": len(distinct) - len(trained),
            "candidates": len(trained),
        }
        return counts | ({} if answers is None else {"agreed": sum(bool(one.agreed) for one in found)}), trained
