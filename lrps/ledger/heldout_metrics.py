"""Held-out losses of evaluated states in metrics.jsonl: copies of what the ledger has, beside the lines of steps.

A file of an earlier version of lrps has no such lines, and readers of training losses leave them out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from lrps.base.foreign_json import parse_json
from lrps.ledger.reader import RAW
from lrps.ledger.records import Record

_FACTS = ("loss", "bits_per_byte", "rows")
"""Facts of each evaluation that a line repeats."""
LINES = re.compile(rb'^\{"heldout": [^\n]*\n', re.MULTILINE)
"""Whole lines that are held-out losses, in the bytes of a metrics.jsonl."""

Evaluated = tuple[int, str, str, float]
"""Lineage step, held-out version, form of the weights and loss of an evaluation."""


@dataclass(frozen=True)
class HeldoutMetrics:
    """Held-out losses of one state."""

    heldout: Mapping[str, Mapping[str, float]]
    """Loss (nats per predicted token), bits per byte and number of sequences by the version of the held-out set."""
    step: int
    """Lineage step of the state."""
    tokens: int
    """Number of tokens of the lineage up to this step."""
    form: str
    """Form of the weights: raw, ema or merge."""

    @classmethod
    def of(cls, step: int, tokens: int, form: str, facts: Mapping[str, Mapping[str, Any]]) -> HeldoutMetrics:
        """Return the line of an evaluation. facts: those of the ledger, by the version of the held-out set."""
        return cls({name: {key: of[key] for key in _FACTS} for name, of in facts.items()}, step, tokens, form)

    def to_line(self) -> bytes:
        """Return the line of metrics.jsonl."""
        return (json.dumps(asdict(self)) + "\n").encode()

    @property
    def evaluated(self) -> frozenset[Evaluated]:
        """Evaluations of the line."""
        return frozenset((self.step, name, self.form, of["loss"]) for name, of in self.heldout.items())


def parse_heldout(line: bytes) -> HeldoutMetrics | None:
    """Return the held-out losses of a line of metrics.jsonl; None for any other line, also a damaged one."""
    if not LINES.fullmatch(line):
        return None
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        found = HeldoutMetrics(**parse_json(line, "the line"))
        if found.evaluated and type(found.step) is int and type(found.tokens) is int:
            return found
    return None


def recorded_evaluations(records: Iterable[Record]) -> frozenset[Evaluated]:
    """Return all evaluations in the records of a path, also those of states that a rewind has abandoned."""
    return frozenset(
        (record.step, record.facts["heldout"], record.facts.get("form", RAW), record.facts["loss"])
        for record in records
        if record.kind == "evaluation"
    )
