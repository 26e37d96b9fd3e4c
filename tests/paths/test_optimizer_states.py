"""Bytes of the states of every kind of optimizer, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from lrps.config.models import Config
from lrps.paths.decoder import parameter_count
from lrps.paths.memory import Setting, at_rest
from lrps.paths.optimizer_states import (
    MAIN,
    ParameterCount,
    muon_states,
    optimizer_fact,
    optimizer_in,
    saved_bytes,
    state_bytes,
)
from support.values import config_values

COUNTED = ParameterCount(1000, 600, 50)


def config(kind: str, precision: str = "fp32", **more: Any) -> Config:
    return Config.model_validate(config_values(optimizer={"kind": kind}, engine={"precision": precision}, **more))


@pytest.mark.parametrize(
    ("kind", "precision", "states"),
    [
        ("adamw", "fp32", 8 * 1000),
        ("adamw", "bf16", 8 * 1000),
        ("muon", "fp32", 4 * 600 + 8 * 400),
        ("muon", "bf16", 2 * 600 + 8 * 400),
        ("lion", "fp32", 4 * 1000),
        ("lion", "bf16", 4 * 1000),
    ],
)
def test_bytes_by_kind(kind: str, precision: str, states: int) -> None:
    made = config(kind, precision)
    assert state_bytes(made, MAIN, COUNTED) == states
    assert saved_bytes(made, MAIN, COUNTED) == 4 * 1000 + states
    averaged = config(kind, precision, average={"ema": {}})
    assert saved_bytes(averaged, MAIN, COUNTED) == 4 * 1000 + states + 4 * 1000
    assert saved_bytes(averaged, "branch", COUNTED) == 4 * 1000 + states


def test_a_model_of_unknown_matrices_counts_muon_as_adamw() -> None:
    unknown = ParameterCount(1000)
    assert saved_bytes(config("muon"), MAIN, unknown) == saved_bytes(config("adamw"), MAIN, unknown)


def test_matrices_of_a_llama_are_the_linear_weights_of_its_layers() -> None:
    from lrps.config.models import ModelConfig

    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
    fields = {"model_type": "llama", "vocab_size": 11, "num_key_value_heads": 1, **sizes}
    found = parameter_count(ModelConfig(architecture=fields))
    layer = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 12
    assert found == ParameterCount(2 * (layer + 2 * 8) + 8 + 2 * 11 * 8, 2 * layer, 8 * 12)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("devices", [1, 4])
def test_memory_at_rest_has_what_a_device_has_of_muons_momentum(stage: int, devices: int) -> None:
    from lrps.config.models import ModelConfig
    from lrps.paths.decoder import decoder_of

    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    fields = {"model_type": "llama", "vocab_size": 512, "num_key_value_heads": 2, **sizes}
    decoder = decoder_of(ModelConfig(architecture=fields))
    assert decoder is not None
    setting = Setting(stage, "fp32", devices, rows=1, micro_batches=1, length=8, states=muon_states("fp32"), gloo=True)
    counted, shares = decoder.counted, 1 if stage == 0 else devices
    assert counted.matrices == 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128)
    momentum = counted.matrices // shares
    if stage in (1, 2):  # Whole matrices, and a copy that a dropped step leaves behind.
        momentum = 2 * (momentum + (64 * 128 if devices > 1 else 0))
    others = -(-(counted.all - counted.matrices) // shares)
    assert at_rest(decoder, setting).moments == 4 * momentum + 2 * 4 * others


def test_only_other_kinds_than_adamw_are_named_in_a_checkpoint() -> None:
    assert optimizer_fact("adamw") == {}
    assert [optimizer_in(optimizer_fact(kind)) for kind in ("adamw", "muon", "lion")] == ["adamw", "muon", "lion"]
