"""Evaluation of a state on held-out sets: loss and bits per byte.

A released version is evaluated on its own held-out set (quality), on older ones (forgetting) and on the next one
(transfer). A main path is evaluated in between (lrps/plan/main_curve.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lrps.base.errors import DataError, NonFiniteLoss
from lrps.config.data import DataConfig
from lrps.data.open_source import open_source
from lrps.data.outputs import targets_of
from lrps.data.sources import DataSource
from lrps.data.stream import Source
from lrps.ledger.confirmed import NON_FINITE_EVALUATION
from lrps.ledger.reader import EMA, RAW

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

    watched_rows: int | None = None
    """Number of sequences, from the first one, that a main path is evaluated on; None for all."""

    @property
    def watched(self) -> HeldoutSet:
        """The set as a main path is evaluated on it: with its first sequences only."""
        return self if self.watched_rows is None else replace(self, rows=min(self.watched_rows, self.rows))

    def open(self) -> Source:
        """Open the shards, which are fetched first if they are remote."""
        return open_source(self.source, self.data, seed=0)


@dataclass(frozen=True)
class HeldoutResult:
    """The result of an evaluation of a state on one held-out set."""

    facts: dict[str, Any]
    """loss (nats per predicted token), bits_per_byte, rows, tokens, manifest_sha256; for a mixture `parts`: part ->
    loss, bits_per_byte, rows, tokens; `first_rows`, with rows and loss, if main paths are evaluated on fewer rows."""
    row_losses: list[float]
    """Mean loss of each sequence in nats per predicted token, in the order of the set."""


def due_sets(heldout: Mapping[str, HeldoutSet], owed: Iterable[str], watched: Iterable[str]) -> dict[str, HeldoutSet]:
    """Return the sets that a state is evaluated on: whole ones where it is owed, the first rows where it is watched.

    owed, watched: versions of held-out sets.
    """
    whole = {version: heldout[version] for version in owed}
    return whole | {version: heldout[version].watched for version in watched if version not in whole}


def evaluate_forms(
    engine: Engine, sets: Mapping[str, HeldoutSet], *, averaged: bool
) -> dict[str, dict[str, HeldoutResult]]:
    """Evaluate the weights, and their average if `averaged`, on held-out sets. Collective.

    Returns form -> version -> results, as in `evaluate_state`. The engine's state is as before at the end.
    """
    found = {RAW: evaluate_state(engine, sets)}
    if averaged:
        with engine.average.evaluated():
            found[EMA] = evaluate_state(engine, sets)
    return found


def evaluate_state(engine: Engine, sets: Mapping[str, HeldoutSet]) -> dict[str, HeldoutResult]:
    """Return the results of the engine's state on held-out sets, by version. Collective.

    Bits per byte use the set's own tokens per byte of text, so that models with different tokenizers can be compared.
    """
    return {version: _evaluate_on(engine, heldout) for version, heldout in sets.items()}


def check_finite(results: Mapping[str, HeldoutResult], step: int) -> None:
    """Raise NonFiniteLoss for a held-out loss that is not finite: the state of this lineage step is broken."""
    for version, result in results.items():
        if not math.isfinite(loss := result.facts["loss"]):
            what = f"step {step}: the held-out loss on {version} is {loss}"
            raise NonFiniteLoss(what, at=step, cause=NON_FINITE_EVALUATION)


def _evaluate_on(engine: Engine, heldout: HeldoutSet) -> HeldoutResult:
    source = heldout.source
    sums, row_losses, weights = _losses(engine, heldout)
    rows = [rows for _, _, rows in sums]
    whole = _measured(sum(loss for loss, _, _ in sums), sum(tokens for _, tokens, _ in sums), source, rows)
    found: dict[str, Any] = whole | {"manifest_sha256": source.sha256}
    if (first := heldout.watched.rows) < heldout.rows:
        weighted = (loss * weight for loss, weight in zip(row_losses[:first], weights, strict=False))
        found["first_rows"] = {"rows": first, "loss": math.fsum(weighted) / math.fsum(weights[:first])}
    if not source.mixed:
        return HeldoutResult(found, row_losses)
    parts: dict[str, Any] = {}
    for number, (part, (loss_sum, tokens, _)) in enumerate(zip(source.parts, sums, strict=True)):
        if rows[number]:
            of_part = [count if index == number else 0 for index, count in enumerate(rows)]
            parts[part.name] = _measured(loss_sum, tokens, source, of_part)
    return HeldoutResult(found | {"parts": parts}, row_losses)


def _measured(loss_sum: float, tokens: float, source: DataSource, rows: list[int]) -> dict[str, Any]:
    """Return the loss of rows and their bits per byte. rows: number of rows of every part of the source."""
    if not tokens:
        raise DataError(f"the held-out sequences of {source.name} have no target; leave `loss` out, or add text")
    loss = loss_sum / tokens
    text_tokens, text_bytes = source.text_of(rows)
    return {
        "loss": loss,
        "bits_per_byte": loss / math.log(2) * text_tokens / float(text_bytes),
        "rows": sum(rows),
        "tokens": int(tokens),
    }


def _losses(engine: Engine, heldout: HeldoutSet) -> tuple[list[tuple[float, float, int]], list[float], list[float]]:
    """Return (sum of the losses, targets, rows) of every part of the set, and the loss and the weight of every row.

    All are those of all ranks. The weight of a row is 1, or the number of its targets if not all tokens are. The
    sums do not come from the losses of rows: they are those of earlier versions of lrps, bit for bit.
    """
    source = heldout.open()
    parts, positions = source.deal(np.arange(heldout.rows))
    mine = np.arange(heldout.rows) % engine.grid.data_ranks == engine.grid.data_rank
    sums: list[float] = []
    row_losses, weights = np.zeros(heldout.rows), np.ones(heldout.rows)
    for number, part in enumerate(source.parts):
        own = mine & (parts == number)
        found = engine.evaluate(part.read(positions[own]))
        if part.outputs is not None:
            weights[parts == number] = targets_of(part.read(positions[parts == number]))
        sums += [found.total, float(found.tokens)]
        row_losses[own] = found.means
    sums = engine.sum_over_ranks(sums)
    rows = np.bincount(parts, minlength=len(source.parts)).tolist()
    # Every row is that of one rank (or group of ranks) and 0 on the others, so that this sum is exact.
    parts_of_set = list(zip(sums[::2], sums[1::2], rows, strict=True))
    return parts_of_set, engine.sum_over_ranks(row_losses.tolist()), weights.tolist()
