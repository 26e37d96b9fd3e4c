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

from lrps.config.models import DataConfig
from lrps.data.cache import open_files
from lrps.data.manifest import Manifest
from lrps.data.stream import TokenSource

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine


@dataclass(frozen=True)
class HeldoutSet:
    """The held-out sequences of a version."""

    version: str
    manifest: Manifest
    data: DataConfig
    """The config section that says where the shards are."""
    rows: int
    """Number of sequences to evaluate on, from the first one."""

    def open(self) -> TokenSource:
        """Open the shards, which are fetched first if they are remote."""
        length = self.data.sequence_length
        return TokenSource(self.manifest, open_files(self.data, self.version), sequence_length=length, seed=0)


def evaluate_state(engine: Engine, sets: Mapping[str, HeldoutSet]) -> dict[str, dict[str, Any]]:
    """Evaluate the engine's state on held-out sets, by version. Collective.

    Returns version -> loss (nats per predicted token), bits_per_byte, rows, tokens, manifest_sha256. Bits per byte use
    the set's own tokens per byte of text, so that models with different tokenizers can be compared.
    """
    return {version: _evaluate_on(engine, heldout) for version, heldout in sets.items()}


def _evaluate_on(engine: Engine, heldout: HeldoutSet) -> dict[str, Any]:
    manifest, source = heldout.manifest, heldout.open()
    mine = np.arange(engine.rank, heldout.rows, engine.world_size)
    loss_sum, tokens = engine.sum_over_ranks(list(engine.evaluate(source.read(mine))))
    loss = loss_sum / tokens
    return {
        "loss": loss,
        "bits_per_byte": loss / math.log(2) * manifest.tokens / manifest.text_bytes,
        "rows": heldout.rows,
        "tokens": int(tokens),
        "manifest_sha256": manifest.sha256,
    }
