"""Sizes of decoders, compared with the models that transformers builds and with torch's count of FLOPs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import ConfigError
from lrps.config.models import ModelConfig
from lrps.paths.decoder import decoder_of
from lrps.paths.known_architectures import KEYS, REQUIRED, why_not_counted

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
    {
        "model_type": "gpt2",
        "vocab_size": 257,
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
    },
    {"model_type": "qwen3", **SMALL, **HEADS, "head_dim": 32, "attention_bias": True, "tie_word_embeddings": True},
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


@pytest.mark.parametrize("kind", KEYS)
def test_sizes_that_may_be_left_out_are_those_of_transformers(kind: str) -> None:
    """A default that differed from transformers' would be a wrong cost."""
    from lrps.engine.model import build_skeleton

    sizes = {**SMALL, **HEADS, "head_dim": 16, "n_embd": 48, "n_layer": 2}
    architecture = {"model_type": kind, **{key: sizes[key] for key in REQUIRED[kind]}}
    model = ModelConfig(architecture=architecture)
    decoder, skeleton = decoder_of(model), build_skeleton(model)
    assert decoder is not None
    assert decoder.parameters == sum(parameter.numel() for parameter in skeleton.parameters())
    assert decoder.heads == skeleton.config.num_attention_heads
    if kind == "gpt2":
        assert decoder.positions == skeleton.config.n_positions
        assert (decoder.dropout_masks > 0) is (skeleton.config.resid_pdrop > 0)
        assert (decoder.inner_kept == 5) is (skeleton.config.activation_function == "gelu_new")


@pytest.mark.parametrize("key", ["hidden_size", "num_key_value_heads", "head_dim", "intermediate_size"])
def test_a_size_that_transformers_would_choose_is_not_guessed(key: str) -> None:
    architecture = {**ARCHITECTURES[5]}
    del architecture[key]
    model = ModelConfig(architecture=architecture)
    assert decoder_of(model) is None
    assert why_not_counted(model) == f"model.architecture lacks {key}; give it"


@pytest.mark.parametrize("kind", KEYS)
def test_the_keys_are_those_of_transformers(kind: str) -> None:
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[kind]()
    rope = {"rope_scaling", "rope_theta"} if "rope_parameters" in KEYS[kind] else set()
    assert KEYS[kind] == {*config.to_dict(), *rope}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "mamba"}, "the sizes of model type 'mamba' are not known here; set model.parameters"),
        ({"model_type": "lama"}, "not known here; did you mean 'llama'?; set"),
        ({"num_kv_heads": 2}, "num_kv_heads: a llama model has no such key; did you mean 'num_key_value_heads'?"),
        ({"tie_word_embedings": True}, "did you mean 'tie_word_embeddings'?"),
    ],
)
def test_what_cannot_be_counted_has_a_reason(change: dict[str, Any], reason: str) -> None:
    model = ModelConfig(architecture={**ARCHITECTURES[0], **change})
    assert decoder_of(model) is None
    assert reason in str(why_not_counted(model))


def test_a_checkpoint_may_have_keys_of_others_but_needs_its_sizes(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**ARCHITECTURES[1], "rope_interleaved": False}))
    model = ModelConfig(checkpoint=tmp_path)
    assert decoder_of(model) == decoder_of(ModelConfig(architecture=ARCHITECTURES[1]))
    config.write_text(json.dumps({key: value for key, value in ARCHITECTURES[1].items() if key != "hidden_size"}))
    assert why_not_counted(model) == f"{config} lacks hidden_size; give it"


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
