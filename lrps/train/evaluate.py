"""Evaluation of a state on held-out sets: loss and bits per byte.

A released version is evaluated on its own held-out set (quality), on older ones (forgetting) and on the next one
(transfer).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lrps.base.errors import NonFiniteLoss
from lrps.config.models import DataConfig
from lrps.data.open_source import open_source
from lrps.data.sources import DataSource
from lrps.data.stream import Source
from lrps.ledger.confirmed import NON_FINITE_EVALUATION

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine


@dataclass(frozen=True)
class HeldoutSet:
    """The held-out sequences of a version."""

    source: DataSource
    data: DataConfig
    """The config section that says where the shards are."""
    rows: int
    """Number of sequences to evaluate on, from the first one."""

    def open(self) -> Source:
        """Open the shards, which are fetched first if they are remote."""
        return open_source(self.source, self.data, seed=0)


def evaluate_state(engine: Engine, sets: Mapping[str, HeldoutSet]) -> dict[str, dict[str, Any]]:
    """Evaluate the engine's state on held-out sets, by version. Collective.

    Returns version -> loss (nats per predicted token), bits_per_byte, rows, tokens, manifest_sha256, and for a mixture
    `parts`: part -> loss, bits_per_byte, rows, tokens. Bits per byte use the set's own tokens per byte of text, so that
    models with different tokenizers can be compared.
    """
    return {version: _evaluate_on(engine, heldout) for version, heldout in sets.items()}


def check_finite(results: Mapping[str, Mapping[str, Any]], step: int) -> None:
    """Raise NonFiniteLoss for a held-out loss that is not finite: the state of this lineage step is broken."""
    for version, result in results.items():
        if not math.isfinite(result["loss"]):
            what = f"step {step}: the held-out loss on {version} is {result['loss']}"
            raise NonFiniteLoss(what, at=step, cause=NON_FINITE_EVALUATION)


def _evaluate_on(engine: Engine, heldout: HeldoutSet) -> dict[str, Any]:
    source = heldout.source
    sums = _loss_sums(engine, heldout)
    rows = [rows for _, _, rows in sums]
    whole = _measured(sum(loss for loss, _, _ in sums), sum(tokens for _, tokens, _ in sums), source, rows)
    found: dict[str, Any] = whole | {"manifest_sha256": source.sha256}
    if not source.mixed:
        return found
    parts: dict[str, Any] = {}
    for number, (part, (loss_sum, tokens, _)) in enumerate(zip(source.parts, sums, strict=True)):
        if rows[number]:
            of_part = [count if index == number else 0 for index, count in enumerate(rows)]
            parts[part.name] = _measured(loss_sum, tokens, source, of_part)
    return found | {"parts": parts}


def _measured(loss_sum: float, tokens: float, source: DataSource, rows: list[int]) -> dict[str, Any]:
    """Return the loss of rows and their bits per byte. rows: number of rows of every part of the source."""
    loss = loss_sum / tokens
    text_tokens, text_bytes = source.text_of(rows)
    return {
        "loss": loss,
        "bits_per_byte": loss / math.log(2) * text_tokens / float(text_bytes),
        "rows": sum(rows),
        "tokens": int(tokens),
    }


def _loss_sums(engine: Engine, heldout: HeldoutSet) -> list[tuple[float, float, int]]:
    """Return (sum of the losses, predicted tokens, rows) of every part of the set, over all ranks."""
    source = heldout.open()
    parts, positions = source.deal(np.arange(heldout.rows))
    mine = np.arange(heldout.rows) % engine.world_size == engine.rank
    values = [
        value
        for number, part in enumerate(source.parts)
        for value in engine.evaluate(part.read(positions[mine & (parts == number)]))
    ]
    sums = engine.sum_over_ranks([float(value) for value in values])
    rows = np.bincount(parts, minlength=len(source.parts)).tolist()
    return list(zip(sums[::2], sums[1::2], rows, strict=True))
