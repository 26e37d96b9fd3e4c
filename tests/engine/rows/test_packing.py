"""Attention within documents: a document in a packed row is what it is alone, in every model and every kernel."""

from __future__ import annotations

import pytest
import torch
from engine.packed_cases import (
    ARCHITECTURES,
    DEPENDING,
    END,
    documents_differ,
    logits_alone,
    loss_alone,
    packed_rows,
    with_reference_flash,
)
from hypothesis import given
from hypothesis import strategies as st
from transformers import DataCollatorWithFlattening
from transformers.modeling_flash_attention_utils import prepare_fa_kwargs_from_position_ids

from lrps.config.models import ModelConfig
from lrps.engine.model import build_model
from lrps.engine.rows import packing

KERNELS = ("sdpa", "eager", "flash")
ROWS = st.integers(1, 4).flatmap(
    lambda rows: st.integers(1, 12).flatmap(
        lambda length: st.lists(
            st.lists(st.integers(0, 2), min_size=length, max_size=length), min_size=rows, max_size=rows
        )
    )
)


def build(architecture, kernel="sdpa", checkpointing=False):
    if kernel == "flash":
        return with_reference_flash(build_model(ModelConfig(architecture=architecture), 3, checkpointing))
    return build_model(ModelConfig(architecture=architecture), 3, checkpointing, kernel)


def counted(row, end):
    positions = [0]
    for token in row[:-1]:
        positions.append(0 if token == end else positions[-1] + 1)
    return positions


@given(ROWS)
def test_positions_count_from_the_begin_of_the_row_and_of_each_document(rows):
    assert packing.position_ids(torch.tensor(rows), 1).tolist() == [counted(row, 1) for row in rows]


@given(ROWS)
def test_cu_seqlens_are_those_of_transformers(rows):
    """Two independent sources: what it infers from position ids, and what its collator makes of the documents."""
    documents = []
    for row in rows:
        documents.append([])
        for token, position in zip(row, counted(row, 1), strict=True):
            if position == 0 and documents[-1]:
                documents.append([])
            documents[-1].append(token)
    given = packing.inputs(torch.tensor(rows), 1, flat=True)
    (bounds, _), (longest, _) = prepare_fa_kwargs_from_position_ids(given["position_ids"])
    assert torch.equal(given["cu_seq_lens_q"], bounds)
    assert given["max_length_q"] == longest
    collator = DataCollatorWithFlattening(return_flash_attn_kwargs=True)
    collated = collator([{"input_ids": document} for document in documents], return_tensors="pt")
    collated.pop("labels")
    assert collated.keys() == given.keys()
    for key, value in collated.items():
        assert torch.equal(torch.as_tensor(given[key]), torch.as_tensor(value)), key
        assert torch.as_tensor(given[key]).dtype == torch.as_tensor(value).dtype, key


def test_flat_labels_predict_within_rows_only():
    rows = torch.tensor([[7, END, 8], [9, 6, END]])
    assert packing.labels(rows, flat=False).tolist() == rows.tolist()
    assert packing.labels(rows, flat=True).tolist() == [[-100, END, 8, -100, 6, END]]
    assert rows[0, 0] == 7, "the rows themselves stay as they are"


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_document_in_a_row_is_the_document_alone(name, kernel, checkpointing):
    rows = packed_rows(0, rows=3, length=23)
    alone = build(ARCHITECTURES[name]).train()
    expected = logits_alone(alone, rows)
    loss = loss_alone(alone, rows)
    loss.backward()
    model = build(ARCHITECTURES[name], kernel, checkpointing).train()
    flat = kernel == "flash"
    found = model(**packing.inputs(rows, END, flat), labels=packing.labels(rows, flat))
    found.loss.backward()
    torch.testing.assert_close(found.logits.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.loss, loss, rtol=1e-5, atol=1e-5)
    for (where, one), other in zip(model.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5, msg=where)
    assert (alone(input_ids=rows).logits - expected).abs().max() > 0.1, "attention across documents is another thing"


SMALL = {key: value for key, value in ARCHITECTURES["llama"].items() if key != "model_type"}
WIDE = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
TRIED = {
    **ARCHITECTURES,
    **DEPENDING,
    "xglm": {"model_type": "xglm", "vocab_size": 97, "d_model": 32, "ffn_dim": 48, "num_layers": 2,
             "attention_heads": 4},
    "jamba": {"model_type": "jamba", **SMALL, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1,
              "use_mamba_kernels": False, "pad_token_id": 0},
    "recurrent_gemma": {"model_type": "recurrent_gemma", **WIDE, "intermediate_size": 48, "pad_token_id": 0},
    "mixtral": {"model_type": "mixtral", **SMALL, "num_local_experts": 4},
    "gemma2": {"model_type": "gemma2", **SMALL, "head_dim": 8, "pad_token_id": 0},
}  # fmt: skip


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", TRIED)
def test_the_trial_finds_out_whether_documents_meet(name, precision):
    model = build_model(ModelConfig(architecture=TRIED[name]), 3).eval()
    expected = documents_differ(model)
    model.to(precision)
    with torch.no_grad():
        found = packing.documents_meet(lambda rows: model(**packing.inputs(rows, END, flat=False)).logits, END)
    assert found is expected


@pytest.mark.parametrize("end", [0, 2, 96])
def test_the_trial_needs_no_token_but_the_end_mark(end):
    model = build(ARCHITECTURES["gpt2"]).eval()
    with torch.no_grad():
        assert not packing.documents_meet(lambda rows: model(**packing.inputs(rows, end, flat=False)).logits, end)
        assert packing.documents_meet(lambda rows: model(input_ids=rows).logits, end)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_show_nothing(bad):
    model = build(ARCHITECTURES["llama"])
    fault = packing.documents_fault(model, lambda rows: torch.full((*rows.shape, 5), bad), END)
    assert "llama model cannot be tried: its logits are not finite" in str(fault)
