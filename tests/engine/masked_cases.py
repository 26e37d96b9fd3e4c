"""Steps of an engine on rows of which not all tokens are targets, beside a bare loop on all rows of all ranks."""

from __future__ import annotations

import numpy as np
import torch
from matrix_state import ROWS, STEPS, bare_steps, batch, losses, make_config, running, share

from lrps.data.outputs import MASKED
from lrps.engine.rows.packing import NOT_PREDICTED

TOPOLOGIES = [(0, 1), (1, None), (2, 1), (3, 1)]
"""ZeRO stage and rows of a micro-batch."""


def masked(step):
    """Rows with ever more targets, so that ranks and micro-batches have different numbers; the first one has none."""
    tokens = batch(step)
    targets = np.random.default_rng(step + 100).random(tokens.shape) < np.linspace(0, 0.7, ROWS)[:, None]
    return np.where(targets, tokens, ~tokens).astype(MASKED)


def mean_over_targets(model, step):
    rows = torch.from_numpy(masked(step)).long()
    labels = rows.masked_fill(rows < 0, NOT_PREDICTED)
    return model(input_ids=torch.where(rows < 0, ~rows, rows), labels=labels).loss


def masked_rows(_out):
    found = {}
    for stage, micro in TOPOLOGIES:
        config = make_config("llama", stage, "fp32", micro, clip_grad_norm=0.5)
        _, bare = bare_steps(config, mean_over_targets)
        with running(config) as engine:
            for step in range(STEPS):
                engine.train_step(share(masked(step)), lr=1e-2, seed=5, step=step)
            ours = losses(engine.sync_metrics().steps)
        found[f"s{stage} {micro}"] = {"bare": bare, "ours": ours}
    return found
