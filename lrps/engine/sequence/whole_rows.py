"""Forward passes over whole rows: their inputs, loss, logits and held-out losses.

Gets DeepSpeed's engine as an argument and must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lrps.base.errors import ConfigError
from lrps.engine import packing
from lrps.engine.heldout_losses import sums_and_means, token_losses
from lrps.engine.loss_head import LossHead


class WholeRows:
    """Forward passes of an engine over rows of which this rank has all tokens."""

    def __init__(self, engine: Any, document_end: int | None) -> None:
        """document_end: EOS token, given if attention is limited to documents."""
        self._engine, self._document_end = engine, document_end
        self._flat = document_end is not None and packing.takes_cu_seqlens(engine.module)

    def loss(self, rows: Tensor, mean_of: float | None = None) -> Tensor:
        """Return the mean loss over the targets of rows: (rows, length), on the CPU, int64, masked or not.

        mean_of: number by which the sum is divided, in place of that of the targets. Raises ConfigError for it if the
        model does not compute its loss without logits.
        """
        if mean_of is not None and fused_head(self._engine) is None:
            raise ConfigError(
                "`loss: outputs` needs engine.cross_entropy chunked, which is the default where the model allows it; "
                "take another model, or leave `loss` out"
            )
        labels = packing.labels(rows, self._flat)
        inputs = on_device({**self._inputs(packing.tokens_of(rows)), "labels": labels}, self._engine.device)
        loss: Tensor = self._engine(**inputs, **({} if mean_of is None else {"mean_of": mean_of})).loss
        return loss

    def logits(self, rows: Tensor) -> Tensor:
        """Return logits (rows, length, vocabulary). Not available once the fused loss is enabled."""
        logits: Tensor = self._engine(**on_device(self._inputs(rows), self._engine.device)).logits
        return logits.reshape(*rows.shape, -1)

    def heldout_losses(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of targets of rows (rows, length), and the mean of each row (rows,), in fp64."""
        masked = bool((rows < 0).any())
        if (head := fused_head(self._engine)) is not None:
            total = self.loss(rows).double() * rows[:, 1:].numel()
            assert head.token_losses is not None
            losses = head.token_losses.reshape(rows.shape)[:, :-1]
            return sums_and_means(losses, rows) if masked else (total, losses.double().mean(1))
        logits = self.logits(packing.tokens_of(rows))
        losses = token_losses(logits, rows.to(logits.device)).double().reshape(len(rows), -1)
        return sums_and_means(losses, rows) if masked else (losses.sum(), losses.mean(1))

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
