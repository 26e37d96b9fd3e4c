"""Sizes of decoders, compared with the models that transformers builds and with torch's count of FLOPs."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.base.errors import ConfigError
from lrps.config.models import ModelConfig
from lrps.paths.decoder import decoder_of

SMALL = {"vocab_size": 257, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
ARCHITECTURES: list[dict[str, Any]] = [
    {"model_type": "llama", **SMALL, "num_attention_heads": 4},
    {"model_type": "llama", **SMALL, **HEADS, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    {"model_type": "llama", **SMALL, **HEADS, "head_dim": 32},
    {"model_type": "mistral", **SMALL, **HEADS},
    {"model_type": "qwen2", **SMALL, **HEADS},
    {"model_type": "qwen3", **SMALL, **HEADS, "head_dim": 32},
    {"model_type": "gpt2", "vocab_size": 257, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128},
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a["model_type"])
def test_the_tensors_are_those_of_transformers(architecture: dict[str, Any]) -> None:
    from lrps.engine.model import build_skeleton

    model = ModelConfig(architecture=architecture)
    decoder, skeleton = decoder_of(model), build_skeleton(model)
    assert decoder is not None
    sizes = [parameter.numel() for parameter in skeleton.parameters()]
    assert sorted(sizes) == sorted([*decoder.layers * decoder.layer_tensors, *decoder.other_tensors])
    assert decoder.parameters == sum(sizes)
    positions = 128 * 64 if architecture["model_type"] == "gpt2" else 0
    assert decoder.input_embedding == positions + (0 if skeleton.config.tie_word_embeddings else 257 * 64)
    assert decoder.largest_tensor == max(sizes)
    assert decoder.parameters_in_tensors_up_to(64) == sum(size for size in sizes if size <= 64)


def test_flops_agree_with_torchs_counter() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from lrps.engine.model import build_model

    described = ModelConfig(architecture={"model_type": "llama", **SMALL, "hidden_size": 128, "num_attention_heads": 4})
    decoder = decoder_of(described)
    model, rows = build_model(described, seed=0, attention="eager"), torch.randint(0, 257, (2, 64))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=rows, labels=rows).loss.backward()
    assert decoder is not None
    # The formula counts the gains of norms as multiplications and the counter does not: well below 1 % here.
    assert decoder.flops_per_token(64) * rows.numel() == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize(
    "architecture",
    [{"model_type": "mamba", "vocab_size": 9}, {"model_type": "llama", "vocab_size": 9}],
    ids=["unknown type", "missing sizes"],
)
def test_what_cannot_be_counted_is_none(architecture: dict[str, Any]) -> None:
    assert decoder_of(ModelConfig(architecture=architecture)) is None


def test_sizes_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="whole numbers above 0"):
        decoder_of(ModelConfig(architecture={**ARCHITECTURES[0], "hidden_size": "wide"}))


def test_llama_keeps_what_its_operations_keep() -> None:
    """Per token: 2 norms of 8 bytes a value, queries and outputs, keys and values, 4 tensors of the MLP."""
    decoder = decoder_of(ModelConfig(architecture={**ARCHITECTURES[3]}))
    assert decoder is not None
    assert decoder.kept_by_layer("bf16", 128, None, masked=False) == 16 * 64 + 2 * 2 * (64 + 32) + 4 * 4 + 8 * 192
    scores = 4 * 128 * (4 + 2)
    assert decoder.kept_by_layer("bf16", 128, "eager", masked=False) == 16 * 64 + 8 * 64 + scores + 8 * 192
