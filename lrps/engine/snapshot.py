"""A copy of an engine's state in host memory, so that training goes on while the copy is written.

Costs as much host memory as what the rank saves: 12 bytes for each parameter that it owns. Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lrps.base.errors import CheckpointError
from lrps.engine.fragments import Fragments


class Snapshot:
    """Host memory for copies of one engine's fragments; each copy overwrites the one before."""

    def __init__(self, live: Fragments) -> None:
        """CheckpointError if the host lacks the memory."""
        self._buffers = _buffers(live.tensors)

    def take(self, live: Fragments) -> Fragments:
        """The same fragments in this snapshot's memory, once they are copied."""
        for key, tensor in live.tensors.items():
            self._buffers[key].copy_(tensor, non_blocking=True)
        if torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()
        return replace(live, tensors=self._buffers)


def _buffers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Host memory for these tensors: one allocation, pinned where it is filled from a GPU."""
    pinned = any(tensor.is_cuda for tensor in tensors.values())
    elements = sum(tensor.numel() for tensor in tensors.values())
    try:
        # Written to, or the first copy would wait for every page of it.
        memory = torch.empty(elements, dtype=torch.float32, pin_memory=pinned).zero_()
    except RuntimeError as error:
        raise CheckpointError(
            f"no host memory for a copy of {elements * 4 / 1e9:.1f} GB to save from while training goes on ({error}); "
            "set checkpoint.asynchronous: false, or give the process more memory"
        ) from error
    parts = memory.split([tensor.numel() for tensor in tensors.values()])
    return dict(zip(tensors, parts, strict=True))
