"""Weights of Hugging Face directories, read unit by unit: what `from_pretrained` loads, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from lrps.base.errors import ConfigError
from lrps.config.models import ModelConfig
from lrps.engine.build.placed_model import build_placed
from lrps.engine.build.placement import Placement
from lrps.engine.build.units import UnfitError
from lrps.engine.model import build_model
from support.model_directories import LLAMA, change_json, change_weights, model_directory

_SIZES = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
OTHERS: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", "vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "a persistent buffer": {
        **_SIZES, "model_type": "ernie4_5_moe", "intermediate_size": 48, "moe_num_experts": 4, "moe_k": 2,
        "moe_intermediate_size": 16, "num_key_value_heads": 2, "moe_layer_start_index": 5,
    },
    "opt": {**_SIZES, "model_type": "opt", "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 64},
}  # fmt: skip
MIXTRAL = {
    **_SIZES, "model_type": "mixtral", "intermediate_size": 48, "num_key_value_heads": 2, "num_local_experts": 4,
}  # fmt: skip


def built(directory: Path, placement: Placement | None = None, loaded: bool = False) -> Any:
    config = AutoConfig.from_pretrained(directory)
    return build_placed(config, 0, placement or Placement(), loaded=loaded, checkpoint=directory)


def check_equal(ours: Any, theirs: Any) -> None:
    """Compare parameters with ties, and all buffers."""
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for of in (lambda model: model.named_parameters(), lambda model: model.named_buffers()):
        for (name, values), (named, expected) in zip(of(ours), of(theirs), strict=True):
            assert name == named
            assert torch.equal(values, expected), name


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_model_is_the_one_that_transformers_loads(tmp_path: Path, tied: bool, shards: int) -> None:
    directory = model_directory(tmp_path, shards, tie_word_embeddings=tied)
    check_equal(built(directory), AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32))
    rounded = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    check_equal(built(directory, Placement(dtype=torch.bfloat16)), rounded)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_types_are_those_that_transformers_loads(tmp_path: Path, kind: str) -> None:
    began: Any = build_model(ModelConfig(architecture=OTHERS[kind]), 3)
    with torch.no_grad():
        for values in began.state_dict().values():
            values.add_(0.25)  # Not what initialisation would give.
    began.save_pretrained(tmp_path)
    check_equal(built(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32))


def test_a_head_that_is_stored_beside_its_embedding_is_tied_if_it_is_equal(tmp_path: Path) -> None:
    directory = model_directory(tmp_path, tie_word_embeddings=True)
    embedding = "model.embed_tokens.weight"
    change_weights(directory, lambda weights: weights.update({"lm_head.weight": weights[embedding].clone()}))
    model = built(directory)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def other_head(directory: Path) -> None:
    change_json(directory / "config.json", lambda values: values.update(tie_word_embeddings=True))


def not_a_number(directory: Path) -> None:
    change_weights(directory, lambda weights: weights["model.norm.weight"][3].fill_(float("nan")))


def surplus(directory: Path) -> None:
    change_weights(directory, lambda weights: weights.update({"v_head.weight": torch.ones(1, 32)}))


FAULTS: dict[Callable[[Path], None], str] = {
    other_head: "lm_head.weight differs from model.embed_tokens.weight, with which config.json ties it",
    not_a_number: "model.norm.weight has values that are NaN or infinite; use a sound model",
    surplus: "has weights that the model of its config.json does not have: v_head.weight",
}


@pytest.mark.parametrize("change", FAULTS, ids=lambda change: change.__name__)
def test_a_model_that_must_not_be_trained_is_refused(tmp_path: Path, change: Callable[[Path], None]) -> None:
    directory = model_directory(tmp_path)
    change(directory)
    with pytest.raises(ConfigError, match=re.escape(FAULTS[change])):
        built(directory)


def test_a_file_that_cannot_be_read_is_an_error_once_every_unit_was_placed(tmp_path: Path) -> None:
    """Other ranks wait for the parameters of every unit."""
    directory = model_directory(tmp_path)
    (file,) = directory.glob("*.safetensors")
    placed: list[int] = []
    built(directory, Placement(partition=lambda parameters: placed.append(len(parameters))))
    complete, broken = placed.copy(), list[int]()

    def vanishing(parameters: Sequence[nn.Parameter]) -> None:
        broken.append(len(parameters))
        file.unlink(missing_ok=True)

    with pytest.raises(ConfigError, match=f"cannot be read from {file} on host .*copy the model again"):
        built(directory, Placement(partition=vanishing))
    assert broken == complete
    assert len(complete) > 1


def test_who_makes_no_values_reads_no_weights(tmp_path: Path) -> None:
    directory = model_directory(tmp_path)
    not_a_number(directory)
    assert built(directory, Placement(fills=False)).model.norm.weight.shape == (32,)


def test_no_weight_is_read_for_a_state_and_persistent_buffers_are(tmp_path: Path) -> None:
    directory = model_directory(tmp_path)
    not_a_number(directory)
    assert built(directory, loaded=True).model.norm.weight.isfinite().all()


def missing(directory: Path) -> None:
    change_weights(directory, lambda weights: weights.pop("model.norm.weight"))


@pytest.mark.parametrize(
    ("architecture", "change", "reason"),
    [
        (LLAMA, missing, "its files do not have model.norm.weight as the model has it"),
        (MIXTRAL, None, "its files do not have model.layers.0.mlp"),
    ],
    ids=["a missing weight", "joined experts"],
)
def test_files_that_transformers_has_to_convert_are_named(
    tmp_path: Path, architecture: dict[str, Any], change: Callable[[Path], None] | None, reason: str
) -> None:
    """The plain build reads them, or refuses them as before."""
    build_model(ModelConfig(architecture=architecture), 3).save_pretrained(tmp_path)  # type: ignore[operator]
    if change is not None:
        change(tmp_path)
    with pytest.raises(UnfitError, match=reason):
        built(tmp_path)
