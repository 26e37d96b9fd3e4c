"""Whether a model fits the data is known from its config, without the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError
from lrps.config.loader import load_config
from lrps.config.models import ModelConfig
from lrps.data.manifest import Manifest
from lrps.engine.model_config import check_model_config
from lrps.plan.plan import make_plan
from support.model_directories import LLAMA, change_json, model_directory


@pytest.fixture(scope="module")
def manifest(tiny_config: Path) -> Manifest:
    """The manifest of shards of a tokenizer of 97 tokens."""
    built = make_plan(load_config(tiny_config)).manifests["v1"]
    return replace(built, tokenizer=replace(built.tokenizer, vocabulary=97))


def test_a_model_that_fits(manifest: Manifest, tmp_path: Path) -> None:
    for model in (ModelConfig(architecture=LLAMA), ModelConfig(checkpoint=model_directory(tmp_path))):
        assert check_model_config(model, {"v1": manifest}, 64).hidden_size == 32


def test_a_vocabulary_that_is_too_small(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"vocabulary of 96, the shards' tokenizer has 97 tokens; give .* 97 or more"):
        check_model_config(ModelConfig(architecture={**LLAMA, "vocab_size": 96}), {"v1": manifest}, 64)
    directory = model_directory(tmp_path, vocab_size=90)
    with pytest.raises(ConfigError, match="vocabulary of 90"):
        check_model_config(ModelConfig(checkpoint=directory), {"v1": manifest}, 64)
    check_model_config(ModelConfig(checkpoint=directory), {}, 64)


@pytest.mark.parametrize("layers", [0, -1])
def test_a_model_without_layers(layers: int) -> None:
    with pytest.raises(ConfigError, match=f"the model has {layers} layers; give num_hidden_layers 1 or more"):
        check_model_config(ModelConfig(architecture={**LLAMA, "num_hidden_layers": layers}), {}, 64)


def test_a_model_of_several_inputs_has_its_vocabulary_in_the_config_of_its_text(manifest: Manifest) -> None:
    text = {key: value for key, value in LLAMA.items() if key != "model_type"}
    model = ModelConfig(architecture={"model_type": "gemma3", "text_config": text})
    assert check_model_config(model, {"v1": manifest}, 64).get_text_config().vocab_size == 97
    with pytest.raises(ValueError, match="architecture needs vocab_size"):
        ModelConfig(architecture={"model_type": "gemma3", "text_config": {"hidden_size": 32}})


def test_positions_that_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.sequence_length 65 is beyond the model's 64 positions"):
        check_model_config(ModelConfig(checkpoint=model_directory(tmp_path)), {}, 65)
    gpt2 = {"model_type": "gpt2", "vocab_size": 97, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 32}
    with pytest.raises(ConfigError, match=r"data.sequence_length 64 is beyond the model's 32 positions"):
        check_model_config(ModelConfig(architecture=gpt2), {}, 64)


def test_a_checkpoint_is_checked_as_well(tmp_path: Path) -> None:
    directory = model_directory(tmp_path)
    change_json(directory / "config.json", lambda values: values.update(model_type="vit"))
    with pytest.raises(ConfigError, match=r"config.json: transformers knows no causal language model 'vit'"):
        check_model_config(ModelConfig(checkpoint=directory), {}, 64)
    (directory / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="adapter"):
        check_model_config(ModelConfig(checkpoint=directory), {}, 64)
