"""Forward passes over whole rows: their inputs, loss, logits and held-out losses.

Gets DeepSpeed's engine as an argument and must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lrps.base.errors import ConfigError
from lrps.engine.losses.heldout_losses import sums_and_means, token_losses
from lrps.engine.losses.loss_head import LossHead
from lrps.engine.rows import packing
from lrps.engine.rows.mask_test import MaskTest, restarts
from lrps.engine.rows.packing import NOT_PREDICTED
from lrps.engine.rows.token_rows import TokenRows


class WholeRows:
    """Forward passes of an engine over rows of which this rank has all tokens."""

    def __init__(self, engine: Any, document_end: int | None, heldout_rows: int | None = None) -> None:
        """document_end: EOS token, given if attention is limited to documents.

        heldout_rows: number of rows that every pass over held-out rows has; missing ones are filled in, and count
        nothing. So a compiled model meets one shape. None for passes over the given rows alone.
        """
        self._engine, self._document_end, self._heldout_rows = engine, document_end, heldout_rows
        self._flat = document_end is not None and packing.takes_cu_seqlens(engine.module)
        self._mask_test = MaskTest()

    def loss(self, rows: TokenRows, mean_of: float | None = None) -> Tensor:
        """Return the mean loss over the targets of rows (rows, length), masked or not.

        mean_of: number by which the sum is divided, in place of that of the targets. Raises ConfigError for it if the
        model does not compute its loss without logits.
        """
        labels = packing.labels(rows.on_device, self._flat)
        if mean_of is None:
            return self._loss(rows, labels)
        if fused_head(self._engine) is None:
            raise ConfigError(
                "`loss: outputs` needs engine.cross_entropy chunked, which is the default where the model allows it; "
                "take another model, or leave `loss` out"
            )
        loss: Tensor = self._call(rows, labels=labels, mean_of=mean_of).loss
        return loss

    def logits(self, rows: Tensor) -> Tensor:
        """Return logits (rows, length, vocabulary). Not available once the fused loss is enabled."""
        return self._logits(TokenRows(rows.numpy(), self._engine.device))

    def heldout_losses(self, rows: TokenRows) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of targets of rows (rows, length), and the mean of each row (rows,), in fp64."""
        count, length = rows.shape
        filled = rows.filled_to(self._heldout_rows or count)
        if (head := fused_head(self._engine)) is not None:
            labels = packing.labels(filled.on_device, self._flat)
            if filled is not rows:
                labels = labels.clone()
                labels.reshape(filled.shape)[count:] = NOT_PREDICTED
            total = self._loss(filled, labels).double() * (count * (length - 1))
            assert head.token_losses is not None
            losses = head.token_losses.reshape(filled.shape)[:count, :-1]
            return sums_and_means(losses, rows.on_device) if rows.masked else (total, losses.double().mean(1))
        logits = self._logits(filled)[:count]
        losses = token_losses(logits, rows.on_device).double().reshape(count, -1)
        return sums_and_means(losses, rows.on_device) if rows.masked else (losses.sum(), losses.mean(1))

    def _loss(self, rows: TokenRows, labels: Tensor) -> Tensor:
        loss: Tensor = self._call(rows, labels=labels).loss
        return loss

    def _logits(self, rows: TokenRows) -> Tensor:
        logits: Tensor = self._call(rows).logits
        return logits.reshape(*rows.shape, -1)

    def _call(self, rows: TokenRows, **labels: Any) -> Any:
        """Call the model for rows."""
        rows = rows.unmasked
        if self._document_end is None:
            with self._mask_test.answered(None):
                return self._engine(input_ids=rows.on_device, **labels)
        inputs = packing.inputs(rows.on_host, self._document_end, self._flat)
        packed = restarts(inputs["position_ids"])
        ids = rows.on_device.reshape(inputs.pop("input_ids").shape)
        with self._mask_test.answered(packed):
            return self._engine(input_ids=ids, **on_device(inputs, self._engine.device), **labels)


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
