"""Rows of token ids of one forward pass: on the host, and on the device of the model. Must not import deepspeed."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lrps.data.outputs import MASKED


class TokenRows:
    """Token ids (rows, length), copied to the device once, in the 2 or 4 bytes of the shards, and widened there."""

    def __init__(self, ids: np.ndarray, device: str | torch.device) -> None:
        """ids: (rows, length), of any integer type. device: that of the model."""
        self._ids, self._device = ids, torch.device(device)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, and of tokens in each."""
        rows, length = self._ids.shape
        return rows, length

    @property
    def masked(self) -> bool:
        """True if some tokens may be no targets, and are complements (lrps/data/outputs.py)."""
        return self._ids.dtype == MASKED

    @cached_property
    def unmasked(self) -> TokenRows:
        """The rows with the tokens themselves in place of complements."""
        if not self.masked:
            return self
        return TokenRows(np.where(self._ids < 0, ~self._ids, self._ids).astype(np.uint32), self._device)

    @cached_property
    def on_host(self) -> Tensor:
        """Token ids in int64, as models take them, on the CPU."""
        return torch.from_numpy(np.ascontiguousarray(self._ids)).long()

    @cached_property
    def on_device(self) -> Tensor:
        """Token ids in int64 on the device; the tensor of the host where the device is the CPU."""
        if self._device.type == "cpu":
            return self.on_host
        narrow = as_signed(self._ids).pin_memory().to(self._device, non_blocking=True)
        return widened(narrow, self._ids.dtype)

    def split(self, rows: int) -> list[TokenRows]:
        """Return consecutive parts of `rows` rows each; the last one may have fewer. No part if there are no rows."""
        starts = range(0, len(self._ids), rows)
        return [TokenRows(self._ids[start : start + rows], self._device) for start in starts]

    def filled_to(self, rows: int) -> TokenRows:
        """Return at least `rows` rows: the missing ones are of token 0."""
        missing = rows - len(self._ids)
        if missing <= 0:
            return self
        return TokenRows(np.pad(self._ids, ((0, missing), (0, 0))), self._device)


def as_signed(ids: np.ndarray) -> Tensor:
    """Return the same bytes as a tensor of signed integers, which torch copies and converts on every device."""
    return torch.from_numpy(np.ascontiguousarray(ids).view(f"i{ids.itemsize}"))


def widened(signed: Tensor, dtype: np.dtype) -> Tensor:
    """Return in int64 what the bytes of `as_signed` mean in the type that they had."""
    wide = signed.long()
    return wide & (2 ** (8 * dtype.itemsize) - 1) if dtype.kind == "u" and dtype.itemsize < 8 else wide
