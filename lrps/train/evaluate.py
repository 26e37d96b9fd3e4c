"""Loss and bits per byte of a state on held-out sets: every version so far, and the next one.

The same numbers serve quality (the version's own set), forgetting (the older ones) and transfer (the next one).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lrps.data.cache import open_files
from lrps.data.stream import TokenSource
from lrps.plan.plan import Plan

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine


def evaluate_state(plan: Plan, engine: Engine, versions: list[str]) -> dict[str, dict[str, Any]]:
    """Evaluate the engine's state on the held-out sets of `versions`; all ranks together.

    Returns version -> loss (nats per predicted token), bits_per_byte, rows, tokens, manifest_sha256. Bits per byte
    convert with the set's own tokens per byte of text, so that models with different tokenizers can be compared.
    """
    return {version: _evaluate_on(plan, engine, version) for version in versions}


def _evaluate_on(plan: Plan, engine: Engine, version: str) -> dict[str, Any]:
    manifest = plan.heldout[version]
    length = plan.config.data.sequence_length
    source = TokenSource(manifest, open_files(plan.config.data, version), sequence_length=length, seed=0)
    rows = plan.heldout_rows(version)
    mine = np.arange(engine.rank, rows, engine.world_size)
    loss_sum, tokens = engine.sum_over_ranks(list(engine.evaluate(source.read(mine))))
    loss = loss_sum / tokens
    return {
        "loss": loss,
        "bits_per_byte": loss / math.log(2) * manifest.tokens / manifest.text_bytes,
        "rows": rows,
        "tokens": int(tokens),
        "manifest_sha256": manifest.sha256,
    }
