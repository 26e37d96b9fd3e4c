"""The loss of masked rows: only targets count, whatever the micro-batches and ranks are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from engine.packed_cases import ARCHITECTURES
from torch import Tensor, nn

from lrps.base.errors import ConfigError
from lrps.config.models import ModelConfig
from lrps.data.outputs import MASKED, targets_of
from lrps.engine.losses.loss_head import enable_fused_loss
from lrps.engine.model import build_model
from lrps.engine.rows.token_rows import TokenRows
from lrps.engine.sequence.whole_rows import WholeRows


class OneProcess:
    """An engine of one process without an optimizer: what WholeRows needs of DeepSpeed's."""

    device = "cpu"

    def __init__(self, fused: bool) -> None:
        self.module = build_model(ModelConfig(architecture=ARCHITECTURES["llama"]), 3)
        if fused:
            assert enable_fused_loss(self.module, lambda: self(input_ids=_PLAIN, labels=_PLAIN).loss.detach()) is None

    def __call__(self, **inputs: Any) -> Any:
        return self.module(**inputs)


_PLAIN = torch.arange(24).reshape(2, 12)


def masked_rows() -> Tensor:
    """Four rows of tokens: with no target, some, only the first token as one (which is never predicted), and all."""
    drawn = torch.randint(0, 97, (4, 12), generator=torch.Generator().manual_seed(1))
    targets = torch.zeros(4, 12, dtype=torch.bool)
    targets[1, 5:9] = targets[2, 0] = targets[3] = True
    return torch.where(targets, drawn, ~drawn)


def token_rows(rows: Tensor) -> TokenRows:
    return TokenRows(rows.numpy().astype(MASKED), "cpu")


def expected(engine: OneProcess, rows: Tensor) -> Tensor:
    """Return the loss of every target, computed from logits; 0 elsewhere: (rows, length - 1)."""
    tokens = torch.where(rows < 0, ~rows, rows)
    hidden = engine.module.model(input_ids=tokens).last_hidden_state
    logits = nn.functional.linear(hidden, engine.module.get_output_embeddings().weight)
    losses = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return losses.reshape(4, -1) * (rows[:, 1:] >= 0)


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_micro_batches_add_up_to_the_mean_over_all_targets(micro: int) -> None:
    engine, rows = OneProcess(fused=True), masked_rows()
    losses = expected(engine, rows)
    targets = int(targets_of(rows.numpy().astype(MASKED)).sum())
    assert targets == 4 + 11
    whole = losses.sum() / targets
    whole.backward()
    gradients = [parameter.grad.clone() for parameter in engine.module.parameters()]
    engine.module.zero_grad()
    batches = rows.split(micro)
    found = [WholeRows(engine, None).loss(token_rows(batch), targets / len(batches)) for batch in batches]
    mean = torch.stack(found).mean()
    mean.backward()
    assert torch.allclose(mean, whole)
    assert all(torch.allclose(p.grad, g, atol=1e-6) for p, g in zip(engine.module.parameters(), gradients, strict=True))


@pytest.mark.parametrize("fused", [True, False])
def test_held_out_losses_are_those_of_targets(fused: bool) -> None:
    engine, rows = OneProcess(fused), masked_rows()
    losses = expected(engine, rows)
    with torch.no_grad():
        total, means = WholeRows(engine, None).heldout_losses(token_rows(rows))
    assert np.isclose(float(total), float(losses.sum()))
    assert np.allclose(means, [0.0, float(losses[1].sum() / 4), 0.0, float(losses[3].mean())])


def test_a_model_that_needs_its_logits_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs engine.cross_entropy chunked"):
        WholeRows(OneProcess(fused=False), None).loss(token_rows(masked_rows()), 4.0)
