"""The test whether rows are packed has the answer of transformers, which is asked no more than once for a shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from engine.packed_cases import ARCHITECTURES, END, packed_rows
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import masking_utils

from lrps.config.models import ModelConfig
from lrps.engine.model import build_model
from lrps.engine.rows import packing
from lrps.engine.rows.mask_test import MaskTest, documents_of, restarts

ASKED = "find_packed_sequence_indices"
ROWS = st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=1, max_size=4)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The calls of transformers' own test."""
    calls, own = [], getattr(masking_utils, ASKED)

    def counted(position_ids: Tensor) -> Tensor | None:
        calls.append(position_ids.shape)
        return own(position_ids)  # type: ignore[no-any-return]

    monkeypatch.setattr(masking_utils, ASKED, counted)
    yield calls
    assert getattr(masking_utils, ASKED) is counted, "transformers is as before"


@given(ROWS)
def test_documents_and_the_answer_are_those_of_transformers(rows: list[list[int]]) -> None:
    positions = packing.position_ids(torch.tensor(rows), 1)
    found = masking_utils.find_packed_sequence_indices(positions)
    assert restarts(positions) == (found is not None)
    if found is not None:
        assert torch.equal(documents_of(positions), found)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_logits_are_the_same_bits_and_transformers_is_asked_once(name: str, kernel: str, asked: list[Any]) -> None:
    model = build_model(ModelConfig(architecture=ARCHITECTURES[name]), 3, False, kernel).train()
    rows = packed_rows(0, rows=3, length=23)
    positions = packing.inputs(rows, END, flat=False)
    plain, packed = model(input_ids=rows).logits, model(**positions).logits
    asked.clear()
    test = MaskTest()
    for _ in range(3):
        with test.answered(None):
            assert torch.equal(model(input_ids=rows).logits, plain)
    assert len(asked) <= 2, "llama makes one mask, mistral with a window two"
    asked.clear()
    with test.answered(restarts(positions["position_ids"])):
        assert torch.equal(model(**positions).logits, packed)
    assert asked == []


def test_after_an_error_transformers_is_as_before(asked: list[Any]) -> None:
    with pytest.raises(ValueError, match="in the pass"), MaskTest().answered(False):
        raise ValueError("in the pass")
