"""The test of transformers whether rows are packed, answered without waiting for the device.

Before the first layer transformers 5 reads from the device whether position ids restart within a row: the host waits
there in every forward pass. The answer is known on the host where lrps makes the position ids; where the model makes
them, it is the same for all rows of a shape. Must not import deepspeed. Imports transformers when used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_NAME = "find_packed_sequence_indices"


class MaskTest:
    """Answers to the test for one engine."""

    def __init__(self) -> None:
        self._of_shapes: dict[torch.Size, bool] = {}

    @contextmanager
    def answered(self, packed: bool | None) -> Iterator[None]:
        """Within the context, answer the test of forward passes. Not while torch.compile looks at it.

        packed: whether positions restart within a row; None where the model makes them: then the first pass of a shape
        asks transformers, and later ones repeat its answer.
        """
        from transformers import masking_utils

        ask = getattr(masking_utils, _NAME)

        def answer(position_ids: Tensor) -> Tensor | None:
            if torch.compiler.is_compiling():
                return ask(position_ids)
            known = packed if packed is not None else self._of_shapes.get(position_ids.shape)
            if known is None:
                found: Tensor | None = ask(position_ids)
                self._of_shapes[position_ids.shape] = found is not None
                return found
            return documents_of(position_ids) if known else None

        setattr(masking_utils, _NAME, answer)
        try:
            yield
        finally:
            setattr(masking_utils, _NAME, ask)


def documents_of(position_ids: Tensor) -> Tensor:
    """Return the number of the document of each token in its row, from positions that restart: (rows, length)."""
    steps = torch.diff(position_ids, prepend=position_ids[:, :1] - 1, dim=-1)
    return (steps != 1).cumsum(-1)


def restarts(position_ids: Tensor) -> bool:
    """Return whether positions (rows, length) restart within a row. They are on the host."""
    return bool((position_ids[:, 1:] == 0).any())
