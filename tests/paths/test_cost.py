"""FLOPs and money against independent counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lrps.config.models import Config, Model
from lrps.paths.cost import cost_model, count_parameters, cpt_steps, ptfs_steps

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


def build(architecture: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = architecture["model_type"]
    config = AutoConfig.for_model(kind, **{k: v for k, v in architecture.items() if k != "model_type"})
    config._attn_implementation = "eager"
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a["model_type"])
def test_parameters_are_those_of_transformers(architecture: dict[str, Any]) -> None:
    counted = count_parameters(Model(architecture=architecture))
    model = build(architecture)
    assert counted is not None
    assert counted.total == model.num_parameters()
    tied = model.config.tie_word_embeddings
    positions = 128 * 64 if architecture["model_type"] == "gpt2" else 0
    assert counted.input_embedding == positions + (0 if tied else 257 * 64)


def test_flops_agree_with_torchs_counter() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    architecture = {"model_type": "llama", **SMALL, "hidden_size": 128, "num_attention_heads": 4}
    counted = count_parameters(Model(architecture=architecture))
    model, rows = build(architecture), torch.randint(0, 257, (2, 64))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=rows, labels=rows).loss.backward()
    assert counted is not None
    # The formula counts norms' gains as multiplications, the counter does not: well below 1 % here.
    assert counted.flops_per_token(64) * rows.numel() == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize(
    "architecture",
    [{"model_type": "mamba", "vocab_size": 9}, {"model_type": "llama", "vocab_size": 9}],
    ids=["unknown type", "missing sizes"],
)
def test_what_cannot_be_counted_is_none(architecture: dict[str, Any]) -> None:
    assert count_parameters(Model(architecture=architecture)) is None


def test_hours_and_money(make_config: Callable[..., Config]) -> None:
    price = {"amount": 2.0, "source": "a contract", "date": "2026-01-01"}
    hardware = {"device": "H100", "devices": 8, "mfu": 0.5, "price_per_device_hour": price}
    costs = cost_model(make_config(hardware=hardware))
    cost = costs.of(1000)
    assert cost.tokens == 16_000
    assert cost.flops == 16_000 * costs.flops_per_token  # type: ignore[operator]
    assert cost.device_hours == pytest.approx(cost.flops / (989e12 * 0.5) / 3600)
    assert cost.money == pytest.approx(2 * cost.device_hours)


def test_an_unknown_device_has_no_hours(make_config: Callable[..., Config]) -> None:
    cost = cost_model(make_config(hardware={"device": "cpu"})).of(10)
    assert cost.flops is not None
    assert cost.device_hours is None
    assert cost.money is None


def test_a_parameter_count_stands_in_for_an_unknown_model(make_config: Callable[..., Config]) -> None:
    model = {"architecture": {"model_type": "mamba", "vocab_size": 9}, "parameters": "1B"}
    costs = cost_model(make_config(model=model))
    assert costs.flops_per_token == 6_000_000_000
    assert costs.checkpoint_bytes == 12_000_000_000


def test_closed_forms() -> None:
    assert ptfs_steps([100] * 4) == 1000
    assert ptfs_steps([1, 20, 300]) == 1 + 21 + 321
    assert cpt_steps([1, 20, 300]) == 321
