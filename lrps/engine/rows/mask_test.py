"""The test of transformers whether rows are packed, answered without waiting for the device.

Before the first layer transformers 5 reads from the device whether position ids restart within a row: the host waits
there in every forward pass. The answer is known on the host where lrps makes the position ids; where the model makes
them, it is the same for all rows of a shape. Must not import deepspeed. Imports transformers when used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_NAME = "find_packed_sequence_indices"


class MaskTest:
    """Answers to the test for one engine."""

    def __init__(self) -> None:
        self._of_shapes: dict[torch.Size, bool] = {}
        self._packed: bool | None = None
        self._ask: Callable[[Tensor], Tensor | None] | None = None
        self._in_place = self._answer  # One object: torch.compile compiles again for another one.

    @contextmanager
    def answered(self, packed: bool | None) -> Iterator[None]:
        """Within the context, answer the test of forward passes. Not while torch.compile looks at it.

        packed: whether positions restart within a row; None where the model makes them: then the first pass of a shape
        asks transformers, and later ones repeat its answer.
        """
        from transformers import masking_utils

        self._packed, self._ask = packed, getattr(masking_utils, _NAME)
        setattr(masking_utils, _NAME, self._in_place)
        try:
            yield
        finally:
            setattr(masking_utils, _NAME, self._ask)

    def _answer(self, position_ids: Tensor) -> Tensor | None:
        """Return the document of each token in its row, or None if each row is one; as transformers' function does."""
        assert self._ask is not None
        if torch.compiler.is_compiling():
            return self._ask(position_ids)
        packed = self._packed if self._packed is not None else self._of_shapes.get(position_ids.shape)
        if packed is None:
            found = self._ask(position_ids)
            self._of_shapes[position_ids.shape] = found is not None
            return found
        return documents_of(position_ids) if packed else None


def documents_of(position_ids: Tensor) -> Tensor:
    """Return the number of the document of each token in its row, from positions that restart: (rows, length)."""
    steps = torch.diff(position_ids, prepend=position_ids[:, :1] - 1, dim=-1)
    return (steps != 1).cumsum(-1)


def restarts(position_ids: Tensor) -> bool:
    """Return whether positions (rows, length) restart within a row. They are on the host."""
    return bool((position_ids[:, 1:] == 0).any())
