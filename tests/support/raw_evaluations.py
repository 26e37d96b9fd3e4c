"""Evaluations of the weights themselves, without those of their averages, under short keys."""

from __future__ import annotations

from collections.abc import Iterable

from lrps.ledger.reader import RAW, HeldoutEvaluation, evaluations
from lrps.ledger.records import Record


def raw_evaluations(records: Iterable[Record]) -> dict[tuple[int, str], HeldoutEvaluation]:
    """Return the newest evaluation by step and held-out version."""
    return {(key.step, key.heldout): found for key, found in evaluations(records).items() if key.form == RAW}
