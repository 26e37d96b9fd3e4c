"""Embeddings without a padding row: every row is trained, and exported models keep their logits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from lrps.config.models import ModelConfig
from lrps.engine.fragments import own_fragments
from lrps.engine.model import build_model
from lrps.engine.padding import padding_rows
from lrps.engine.pretrained import write_pretrained
from support.assembled_state import write_alone

_WIDE = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
TYPES: dict[str, dict[str, Any]] = {
    "gemma2": {**_WIDE, "model_type": "gemma2", "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": False},
    "phi3, whose padding is beyond the vocabulary": {**_WIDE, "model_type": "phi3"},
    "olmo, whose padding was asked for": {**_WIDE, "model_type": "olmo", "pad_token_id": 7},
    "roberta, which counts positions with it": {
        **_WIDE, "model_type": "roberta", "is_decoder": True, "max_position_embeddings": 16,
    },
    "modernbert-decoder, whose class needs a number": {**_WIDE, "model_type": "modernbert-decoder"},
}  # fmt: skip
ROWS = torch.arange(97).roll(3)[:96].reshape(6, 16)


def gradients(model: nn.Module) -> Tensor:
    """Return token id -> whether its input embedding gets a gradient from a batch that has every token."""
    rows = torch.stack([torch.arange(97), torch.arange(97).roll(1)], dim=1)
    model(input_ids=rows, labels=rows).loss.backward()
    embedding = model.get_input_embeddings().weight  # type: ignore[operator]
    return embedding.grad.any(dim=1)


@pytest.mark.parametrize("kind", TYPES)
def test_every_row_is_drawn_and_trained(kind: str) -> None:
    model: Any = build_model(ModelConfig(architecture=TYPES[kind]), 3)
    assert padding_rows(model) == {}
    embedding = model.get_input_embeddings().weight
    width = embedding.std(dim=1)
    assert width.min() > 0.3 * width.median()
    if not model.config.tie_word_embeddings:
        assert gradients(model).all()


def test_a_run_begun_with_padding_keeps_its_weights_and_its_dead_row() -> None:
    described = ModelConfig(architecture=TYPES["gemma2"])
    kept: Any = build_model(described, 3, begun=True)
    new: Any = build_model(described, 3)
    assert padding_rows(kept) == {"model.embed_tokens": 0}
    assert not kept.get_input_embeddings().weight[0].any()
    for (name, one), other in zip(kept.named_parameters(), new.parameters(), strict=True):
        rows = slice(1, None) if name == "model.embed_tokens.weight" else slice(None)
        assert torch.equal(one[rows], other[rows]), name
    learned = gradients(kept)
    assert not learned[0]
    assert learned[1:].all()


def test_positions_of_a_row_do_not_depend_on_its_tokens() -> None:
    model: Any = build_model(ModelConfig(architecture=TYPES["roberta, which counts positions with it"]), 3)
    seen: list[Any] = []
    model.roberta.embeddings.position_embeddings.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(input_ids=torch.tensor([[1, 2, 1, 1], [5, 6, 96, 0]]))
    assert seen[0].expand(2, 4).tolist() == [[0, 1, 2, 3]] * 2


def test_the_rows_of_a_checkpoint_stay_as_they_are_and_are_trained(tmp_path: Path) -> None:
    began: Any = build_model(ModelConfig(architecture=TYPES["gemma2"]), 3)
    began.config.pad_token_id = 5
    began.save_pretrained(tmp_path)
    described = ModelConfig(checkpoint=tmp_path)
    loaded: Any = build_model(described, 0)
    assert padding_rows(loaded) == {}
    assert all(torch.equal(one, other) for one, other in zip(began.parameters(), loaded.parameters(), strict=True))
    assert gradients(loaded).all()
    assert padding_rows(build_model(described, 0, begun=True)) == {"model.embed_tokens": 5}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_an_exported_model_has_the_same_logits(kind: str, begun: bool, tmp_path: Path) -> None:
    described = ModelConfig(architecture=TYPES[kind])
    if begun and kind.startswith(("phi3", "modernbert")):
        pytest.skip("cannot be built with its own padding")
    model: Any = build_model(described, 3, begun=begun).eval()
    state = SimpleNamespace(
        module=model, optimizer=torch.optim.AdamW(model.parameters()), zero_optimization_stage=lambda: 0
    )
    (tmp_path / "fragments").mkdir()
    (tmp_path / "out").mkdir()
    write_alone(own_fragments(state), tmp_path / "fragments")
    write_pretrained(
        described, 3, [tmp_path / "fragments"], tmp_path / "out", dtype="fp32", max_shard_bytes=10**9, document_end=0,
        begun=begun,
    )  # fmt: skip
    there = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    rows = ROWS[:2, :12]
    with torch.no_grad():
        assert torch.equal(there(input_ids=rows).logits, model(input_ids=rows).logits)


def test_weights_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[str] = []
    build = AutoModelForCausalLM.from_config
    monkeypatch.setattr(
        AutoModelForCausalLM,
        "from_config",
        lambda *given, **more: (devices.append(torch.empty(0).device.type), build(*given, **more))[1],
    )
    described = ModelConfig(architecture=TYPES["roberta, which counts positions with it"])
    model: Any = build_model(described, 3)
    assert devices == ["meta", "cpu"]
    assert model.config.pad_token_id == -1
