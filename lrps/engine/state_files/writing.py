"""Writing one segment of a checkpoint: the values of one rank, hashed while they are written.

Several ranks write one file at the same time, each at the offset that follows from the index. Must not import
deepspeed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lrps.base.errors import CheckpointError
from lrps.store.fragments.index import FragmentIndex
from lrps.store.fragments.layouts import ElementRange
from lrps.store.segments import FileSegment

DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""Types of tensors, as safetensors names them."""
_PIECE = 2**24

Values = Callable[[str, ElementRange], Tensor]
"""Function from the name of a state and elements of a parameter to their values, 1-D."""


def write_segment(directory: Path, index: FragmentIndex, segment: int, values: Values) -> FileSegment:
    """Write a segment into its file in `directory`, make it durable, and return it. Not collective.

    The first segment of a file has its header. One tensor at a time is asked for. Raises CheckpointError if the file
    cannot be written.
    """
    path, plan = directory / index.file_of(segment), index.plan_of(segment)
    offset, size = plan.extents[segment]
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            writer = _HashingWriter(descriptor, offset)
            if offset == 0:
                writer.write(plan.header)
            for state in index.states:
                _write_state(writer, index, state, segment, values)
            writer.write(bytes(offset + size - writer.offset))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error}. Free disk space or fix permissions, then rerun"
        ) from error
    return FileSegment(path.name, offset, size, writer.digest.hexdigest(), segment)


def _write_state(writer: _HashingWriter, index: FragmentIndex, state: str, segment: int, values: Values) -> None:
    """Write the pieces of one state, after the padding of the state before it."""
    writer.write(bytes(index.plan_of(segment).tensors[state, segment] - writer.offset))
    dtype = DTYPES[index.states[state].dtype]
    for piece in index.pieces(state, segment):
        tensor = values(state, piece)
        if tensor.dtype != dtype or tensor.numel() != piece.stop - piece.start:
            raise ValueError(
                f"{tensor.numel()} values of type {tensor.dtype} for {piece.stop - piece.start} values of {dtype} of "
                f"{state} of {index.names[piece.parameter]}"
            )
        writer.write(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())


class _HashingWriter:
    """Writes bytes to an open file, from an offset on, and hashes them."""

    def __init__(self, descriptor: int, offset: int) -> None:
        self.descriptor, self.offset, self.digest = descriptor, offset, hashlib.sha256()

    def write(self, content: object) -> None:
        """Write all bytes of a buffer. Raises OSError if there is no space for them."""
        left = memoryview(content)  # type: ignore[arg-type]
        while len(left):
            written = os.pwrite(self.descriptor, left[:_PIECE], self.offset)
            self.digest.update(left[:written])
            self.offset, left = self.offset + written, left[written:]
