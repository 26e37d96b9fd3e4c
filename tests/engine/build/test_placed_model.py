"""Models built unit by unit under real DeepSpeed: the same weights in every topology (matrix_worker.py)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig

from lrps.engine.build.placed_model import build_placed
from lrps.engine.build.placement import Placement
from lrps.engine.losses.loss_head import enable_fused_loss
from lrps.engine.model import configure
from lrps.engine.rows.packing import documents_fault, inputs

_WIDE = {
    "vocab_size": 300, "hidden_size": 288, "intermediate_size": 288, "num_hidden_layers": 2, "num_attention_heads": 4,
}  # fmt: skip
TRIED: dict[str, dict[str, Any]] = {
    "llama": {**_WIDE, "model_type": "llama"},
    "capped logits": {**_WIDE, "model_type": "gemma2", "head_dim": 72, "num_key_value_heads": 2},
    "a loss of the experts": {
        **_WIDE, "model_type": "mixtral", "num_key_value_heads": 2, "num_local_experts": 4,
        "output_router_logits": True,
    },
    "documents meet": {**_WIDE, "model_type": "opt", "ffn_dim": 288, "word_embed_proj_dim": 288},
    "no positions": {"model_type": "mamba", "vocab_size": 300, "hidden_size": 288, "num_hidden_layers": 2},
}  # fmt: skip


def checks(kind: str, loaded: bool) -> tuple[str | None, str | None]:
    """Return what an engine finds out about a model before it loads a state: documents, and the fused loss."""
    architecture = dict(TRIED[kind])
    model = build_placed(AutoConfig.for_model(**architecture), 3, Placement(), loaded=loaded)
    configure(model, False, None)
    model.eval()
    rows = torch.tensor([[0, 1], [1, 0], [0, 0], [1, 1]])
    with torch.no_grad():
        documents = documents_fault(model, lambda rows: model(**inputs(rows, 2, False)).logits, 2)
        return documents, enable_fused_loss(model, lambda: model(input_ids=rows, labels=rows).loss)


@pytest.mark.parametrize("kind", TRIED)
def test_a_model_of_placeholders_passes_the_checks_of_a_new_one_and_no_others(kind: str) -> None:
    """A resume that found something else would train another loss, or let documents meet."""
    assert checks(kind, loaded=True) == checks(kind, loaded=False)


def test_the_checks_find_what_they_are_for() -> None:
    assert checks("llama", loaded=True) == (None, None)
    assert "lets one document change the next" in str(checks("documents meet", loaded=True)[0])
    assert "takes no position_ids" in str(checks("no positions", loaded=True)[0])
    for kind in ("capped logits", "a loss of the experts"):
        assert "makes its loss of more than" in str(checks(kind, loaded=True)[1])


@pytest.mark.slow
def test_every_topology_begins_with_the_same_weights_and_buffers_bit_for_bit(matrix: dict[int, Any]) -> None:
    found = {(world, case): each for world in (1, 2) for case, each in matrix[world]["save_all"].items()}
    assert len(found) == 20
    for kind, precision in (("llama", "fp32"), ("llama", "bf16"), ("gpt2", "fp32")):
        alike = [each for (_, case), each in found.items() if case.startswith(kind) and case.endswith(precision)]
        assert len(alike) >= 4
        assert len({each["weights"] for each in alike}) == 1
        assert len({buffers for each in alike for buffers in each["buffers"]}) == 1
    assert len({each["weights"] for each in found.values()}) == 4
