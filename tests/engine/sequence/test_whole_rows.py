"""Held-out losses of whole rows: rows that are filled in for a compiled model count nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from engine.packed_cases import ARCHITECTURES, END, packed_rows, with_reference_flash
from torch import Tensor

from lrps.config.models import ModelConfig
from lrps.engine.losses import loss_head
from lrps.engine.losses.loss_head import enable_fused_loss
from lrps.engine.model import build_model
from lrps.engine.rows.token_rows import TokenRows
from lrps.engine.sequence.whole_rows import WholeRows

ROWS = packed_rows(1, rows=5, length=16).numpy().astype(np.uint16)


class Passes:
    """A model as an engine, which notes the shapes that it is called with."""

    device = "cpu"

    def __init__(self, kind: str, fused: bool, flash: bool) -> None:
        self.module = build_model(ModelConfig(architecture=ARCHITECTURES[kind]), 3).eval()
        self.shapes: list[tuple[int, ...]] = []
        if fused:
            assert enable_fused_loss(self.module, self._trial) is None
        if flash:
            with_reference_flash(self.module)

    def _trial(self) -> Tensor:
        ids = torch.tensor([[0, 1], [1, 0]])
        loss: Tensor = self.module(input_ids=ids, labels=ids).loss
        return loss

    def __call__(self, **inputs: Any) -> Any:
        self.shapes.append(tuple(inputs["input_ids"].shape))
        return self.module(**inputs)


@pytest.mark.parametrize("end", [None, END])
@pytest.mark.parametrize(("fused", "chunk"), [(True, 2**25), (True, 500), (False, 2**25)])
@torch.no_grad()
def test_filled_rows_count_nothing(end: int | None, fused: bool, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Passes("llama", fused, flash=False)
    monkeypatch.setattr(loss_head, "CHUNK_ELEMENTS", chunk)
    total, means = WholeRows(engine, end).heldout_losses(TokenRows(ROWS, "cpu"))
    filled, of_rows = WholeRows(engine, end, 8).heldout_losses(TokenRows(ROWS, "cpu"))
    assert float(filled) == pytest.approx(float(total), rel=1e-6)
    assert of_rows.tolist() == pytest.approx(means.tolist(), rel=1e-6)
    assert len(of_rows) == len(ROWS)
    assert engine.shapes == [(5, 16), (8, 16)]


@torch.no_grad()
def test_filled_rows_count_nothing_where_all_rows_are_one() -> None:
    """Kernels that take the lengths of documents get all rows as one."""
    engine = Passes("llama", fused=True, flash=True)
    total, means = WholeRows(engine, END).heldout_losses(TokenRows(ROWS, "cpu"))
    filled, of_rows = WholeRows(engine, END, 8).heldout_losses(TokenRows(ROWS, "cpu"))
    assert float(filled) == pytest.approx(float(total), rel=1e-6)
    assert of_rows.tolist() == pytest.approx(means.tolist(), rel=1e-6)
    assert engine.shapes == [(1, 80), (1, 128)]


@torch.no_grad()
def test_without_a_number_nothing_is_filled_in_and_the_bits_stay() -> None:
    engine = Passes("llama", fused=True, flash=False)
    total, means = WholeRows(engine, None).heldout_losses(TokenRows(ROWS, "cpu"))
    ids = torch.from_numpy(ROWS).long()
    expected = engine.module(input_ids=ids, labels=ids).loss.double() * ids[:, 1:].numel()
    assert torch.equal(total, expected)
    assert means.shape == (5,)
