"""Forward passes over whole rows: their inputs, loss, logits and held-out losses.

Gets DeepSpeed's engine as an argument and must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lrps.engine import packing
from lrps.engine.heldout_losses import token_losses
from lrps.engine.loss_head import LossHead


class WholeRows:
    """Forward passes of an engine over rows of which this rank has all tokens."""

    def __init__(self, engine: Any, document_end: int | None) -> None:
        """document_end: EOS token, given if attention is limited to documents."""
        self._engine, self._document_end = engine, document_end
        self._flat = document_end is not None and packing.takes_cu_seqlens(engine.module)

    def loss(self, rows: Tensor) -> Tensor:
        """Return the mean loss over the predicted tokens of rows: (rows, length), on the CPU, int64."""
        labels = packing.labels(rows, self._flat)
        inputs = on_device({**self._inputs(rows), "labels": labels}, self._engine.device)
        loss: Tensor = self._engine(**inputs).loss
        return loss

    def logits(self, rows: Tensor) -> Tensor:
        """Return logits (rows, length, vocabulary). Not available once the fused loss is enabled."""
        logits: Tensor = self._engine(**on_device(self._inputs(rows), self._engine.device)).logits
        return logits.reshape(*rows.shape, -1)

    def heldout_losses(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the token losses of rows (rows, length), and the mean of each row (rows,), in fp64."""
        if (head := fused_head(self._engine)) is not None:
            total = self.loss(rows).double() * rows[:, 1:].numel()
            assert head.token_losses is not None
            return total, head.token_losses.reshape(rows.shape)[:, :-1].double().mean(1)
        logits = self.logits(rows)
        losses = token_losses(logits, rows.to(logits.device)).double()
        return losses.sum(), losses.reshape(len(rows), -1).mean(1)

    def _inputs(self, rows: Tensor) -> dict[str, Any]:
        if self._document_end is None:
            return {"input_ids": rows}
        return packing.inputs(rows, self._document_end, self._flat)


def fused_head(engine: Any) -> LossHead | None:
    """Return the output layer of a model that computes its loss without logits; None for other models."""
    head = engine.module.get_output_embeddings()
    return head if isinstance(head, LossHead) else None


def on_device(inputs: Mapping[str, Any], device: str | torch.device) -> dict[str, Any]:
    """Copy tensors to a device, from pinned memory, so that the copy does not wait for work of the GPU."""
    device = torch.device(device)
    if device.type != "cuda":
        return dict(inputs)
    return {
        name: value.pin_memory().to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in inputs.items()
    }
