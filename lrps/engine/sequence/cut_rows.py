"""Forward passes over rows whose tokens are divided among the ranks of a group.

Every rank of the group is called with the same whole rows. Targets are shifted before rows are cut, so that the last
token of a part predicts the first one of the next. Gets DeepSpeed's engine as an argument and must not import
deepspeed.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lrps.engine.rows import packing
from lrps.engine.rows.packing import NOT_PREDICTED
from lrps.engine.rows.token_rows import TokenRows
from lrps.engine.sequence.grid import RankGrid
from lrps.engine.sequence.whole_rows import fused_head, on_device


class CutRows:
    """Forward passes of an engine over this rank's part of rows. All methods are collective in its group."""

    def __init__(self, engine: Any, document_end: int | None, grid: RankGrid, group: dist.ProcessGroup) -> None:
        """document_end: EOS token, given if attention is limited to documents. group: the ranks that share rows."""
        self._engine, self._document_end, self._grid, self._group = engine, document_end, grid, group

    def loss(self, rows: TokenRows, mean_of: float | None = None) -> Tensor:
        """Return this rank's part of the mean loss over the targets of rows: (rows, length), masked or not.

        The parts of a group add up to that mean: each is a sum over the rank's tokens, divided by the number of
        targets of the whole rows, or by `mean_of`. So a part without any is 0.
        """
        inputs, targets = self._part(rows.on_host)
        predicted = predicted_tokens(rows) if mean_of is None else mean_of
        if fused_head(self._engine) is not None:
            loss: Tensor = self._engine(**inputs, targets=targets, mean_of=predicted).loss
            return loss
        logits = self._engine(**inputs).logits.float().flatten(0, -2)
        summed = nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=NOT_PREDICTED, reduction="sum")
        return summed / predicted

    def logits(self, rows: Tensor) -> Tensor:
        """Return logits (rows, length, vocabulary), equal on the ranks of a group, for trials of a few tokens.

        Not available once the fused loss is enabled.
        """
        length = rows.shape[1]
        # Later tokens change none of these logits, and every part has equally many.
        filled = nn.functional.pad(rows, (0, -length % self._grid.parts), value=int(rows[0, -1]))
        own = self._engine(**self._part(filled)[0]).logits.contiguous()
        parts = [torch.empty_like(own) for _ in range(self._grid.parts)]
        dist.all_gather(parts, own, group=self._group)
        return torch.cat(parts, 1)[:, :length]

    def heldout_losses(self, rows: TokenRows) -> tuple[Tensor, Tensor]:
        """Return the sum of the token losses of rows (rows, length), and the mean of each row (rows,), in fp64.

        Equal on the ranks of a group.
        """
        inputs, targets = self._part(rows.on_host)
        if (head := fused_head(self._engine)) is not None:
            self._engine(**inputs, targets=targets, mean_of=predicted_tokens(rows))
            assert head.token_losses is not None
            losses = head.token_losses
        else:
            logits = self._engine(**inputs).logits.float().flatten(0, -2)
            losses = nn.functional.cross_entropy(
                logits, targets.flatten(), ignore_index=NOT_PREDICTED, reduction="none"
            )
        counted = losses.reshape(targets.shape).double().masked_fill(targets == NOT_PREDICTED, 0.0)
        of_rows = counted.sum(1)
        dist.all_reduce(of_rows, group=self._group)
        return of_rows.sum(), of_rows / (rows.on_host[:, 1:] >= 0).sum(1).clamp(min=1).to(of_rows.device)

    def _part(self, rows: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the model's arguments for this rank's part of rows, and its targets, on the device."""
        length = rows.shape[1]
        targets = nn.functional.pad(packing.labels(rows, False)[:, 1:], (0, 1), value=NOT_PREDICTED)
        rows = packing.tokens_of(rows)
        if self._document_end is None:
            positions = torch.arange(length).expand_as(rows)
        else:
            positions = packing.position_ids(rows, self._document_end)
        whole = {"input_ids": rows, "position_ids": positions, "targets": targets}
        own = {name: values[:, self._grid.columns(length)].contiguous() for name, values in whole.items()}
        part = on_device(own, self._engine.device)
        return part, part.pop("targets")


def predicted_tokens(rows: TokenRows) -> int:
    """Return the number of predicted tokens of rows: all but the first of each."""
    count, length = rows.shape
    return count * (length - 1)
