"""Copies of a rank's part of the state in the memory of the host, to save from while training continues.

On a GPU the copy is made beside the forward and backward passes, which do not change the state, in a stream of its
own; the update that follows waits for it on the device, and the host for nothing. Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lrps.base.errors import CheckpointError
from lrps.engine.fragments import FragmentKey, Fragments

PIECE_BYTES = 2**30
"""Most bytes that are allocated at once, unless a tensor is larger: torch rounds pinned memory up to a power of two, so
that one block of 10.5 GB would take 16."""


def _nothing() -> None:
    """Wait for nothing."""


@dataclass(frozen=True)
class StateCopy:
    """A copy of fragments, which may still be in the making."""

    fragments: Fragments
    """The copy; its values are those of the state once `wait` has returned."""
    wait: Callable[[], None] = _nothing
    """Waits until the copy is complete."""
    hold_update: Callable[[], None] = _nothing
    """Lets what this thread puts on the device from now on begin after the copy is complete."""


class Snapshot:
    """Host memory for copies of one engine's fragments; each copy overwrites the previous one.

    It takes as much memory as the rank's part of a checkpoint: 12 bytes for each parameter that the rank owns, or 16
    with an average of the weights.
    """

    def __init__(self, live: Fragments, beside: bool = False) -> None:
        """Allocate memory for `live`. Raises CheckpointError if the host has too little.

        beside: copy in a stream of its own. Only for fragments that no forward or backward pass changes.
        """
        gpu = next((tensor.device for tensor in live.tensors.values() if tensor.is_cuda), None)
        self._buffers = _buffers(live.tensors, pinned=gpu is not None)
        # Allocated by another thread than the one that trains, whose current device may be another.
        self._stream = None if gpu is None or not beside else torch.cuda.Stream(gpu)

    def take(self, live: Fragments) -> StateCopy:
        """Copy the fragments into this snapshot's memory: at once, or beside training."""
        copied = replace(live, tensors=self._buffers)
        if self._stream is None:
            self._copy(live)
            if torch.cuda.is_available():
                torch.cuda.current_stream().synchronize()
            return StateCopy(copied)
        self._stream.wait_stream(torch.cuda.current_stream())  # The last update may still be running.
        with torch.cuda.stream(self._stream):
            self._copy(live)
        done = self._stream.record_event()
        return StateCopy(copied, done.synchronize, lambda: torch.cuda.current_stream().wait_event(done))

    def _copy(self, live: Fragments) -> None:
        for key, tensor in live.tensors.items():
            self._buffers[key].copy_(tensor, non_blocking=True)


def _buffers(tensors: Mapping[FragmentKey, Tensor], pinned: bool) -> dict[FragmentKey, Tensor]:
    """Allocate host memory for these tensors, in pieces of one type each; pinned where it is filled from a GPU."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    buffers: dict[FragmentKey, Tensor] = {}
    for dtype in {tensor.dtype for tensor in tensors.values()}:
        alike = [key for key, tensor in tensors.items() if tensor.dtype == dtype]
        for piece in pieces([tensors[key].numel() for key in alike], PIECE_BYTES // dtype.itemsize):
            counts = [tensors[key].numel() for key in alike[piece]]
            try:
                # Written once here, or the first copy would wait for a page fault on every page.
                memory = torch.empty(sum(counts), dtype=dtype, pin_memory=pinned).zero_()
            except RuntimeError as error:
                raise CheckpointError(
                    f"no host memory for a copy of {size / 1e9:.1f} GB to save from while training continues "
                    f"({error}); set checkpoint.asynchronous: false, or give the process more memory"
                ) from error
            buffers |= zip(alike[piece], memory.split(counts), strict=True)
    return buffers


def pieces(counts: Sequence[int], most: int) -> Iterator[slice]:
    """Yield slices of consecutive counts whose sum is at most `most`; a larger count is a piece by itself."""
    begin, total = 0, 0
    for place, count in enumerate(counts):
        if place > begin and total + count > most:
            yield slice(begin, place)
            begin, total = place, 0
        total += count
    if begin < len(counts):
        yield slice(begin, len(counts))
