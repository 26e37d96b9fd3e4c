"""Architectures: what transformers would ignore is refused with the nearest name, what it knows is accepted."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from lrps.base.errors import ConfigError
from lrps.engine.architecture import architecture_config, check_architecture

LLAMA = {
    "model_type": "llama", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}


def checked(architecture: dict[str, Any]) -> Any:
    """Return the config of an architecture after all checks."""
    config = architecture_config(architecture)
    check_architecture(architecture, config)
    return config


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"num_kv_heads": 2}, r"num_kv_heads: a llama model has no such key; did you mean 'num_key_value_heads'\?"),
        ({"hiden_size": 64}, r"hiden_size: .* did you mean 'hidden_size'\?"),
        ({"model_type": "lama"}, r"model_type: transformers knows no .*'lama'; did you mean 'llama'\?"),
        ({"model_type": "vit"}, r"model_type: transformers knows no causal language model 'vit'"),
        ({"quantization_config": {"bits": 4}}, r"quantization_config: a llama model has no such key"),
        (
            {"rope_parameters": {"rope_type": "default", "rope_thta": 5e5}},
            r"rope_parameters.rope_thta: .*'rope_theta'\?",
        ),
        ({"rope_parameters": {"factor": 8.0}}, r"rope_parameters.factor: has no effect with rope_type 'default'"),
        ({"rope_scaling": {"type": "linear", "factr": 8.0}}, r"Missing required keys .*'factor'"),
        ({"rope_scaling": {"type": "dinamic", "factor": 8.0}}, r"rope_scaling.rope_type: .*did you mean 'dynamic'\?"),
        ({"rope_parameters": {**YARN, "beta_fst": 3}}, r"rope_parameters.beta_fst: .* did you mean 'beta_fast'\?"),
        (
            {"rope_theta": 3.0, "rope_parameters": {"rope_theta": 5e5}},
            r"rope_theta: 3.0 has no effect beside rope_theta",
        ),
        (
            {"rope_scaling": YARN, "rope_parameters": {"rope_theta": 5e5}},
            r"rope_parameters: has no effect beside rope_sc",
        ),
        (
            {"rope_parameters": {"rope_theta": 7.0}, "model_type": "gemma3_text"},
            r"rope_theta: no kind of layer reads it",
        ),
        (
            {"rope_parameters": {"ful_attention": {"rope_theta": 7.0}}, "model_type": "gemma3_text"},
            r"rope_parameters.ful_attention: no kind of layer reads it; did you mean 'full_attention'\?",
        ),
        ({"attention_dropout": 1.5}, r"attention_dropout: 1.5 is no share"),
        ({"attention_dropout": -0.1}, r"attention_dropout: -0.1 is no share"),
        ({"layer_types": ["full_attention", "full_atention"], "model_type": "qwen3"}, r"`layer_types` entries must be"),
    ],
)
def test_typos_are_refused(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)^model.architecture(\.|: ).*{expected}"):
        checked({**LLAMA, **change})


def test_typos_in_nested_configs_are_refused() -> None:
    nested = {"model_type": "dbrx", "vocab_size": 97, "attn_config": {"clip_qvk": 8.0}}
    with pytest.raises(ConfigError, match=r"^model.architecture.attn_config.clip_qvk: .* did you mean 'clip_qkv'\?"):
        checked(nested)
    of_layers = {"full_attention": {"rope_type": "default", "rope_thta": 3.0}}
    gemma = {"model_type": "gemma3_text", "vocab_size": 97, "rope_parameters": of_layers}
    with pytest.raises(ConfigError, match=r"rope_parameters.full_attention.rope_thta: .* did you mean 'rope_theta'\?"):
        checked(gemma)


def test_two_names_of_one_value_must_agree() -> None:
    gpt2 = {"model_type": "gpt2", "vocab_size": 97, "n_embd": 32, "n_head": 4, "hidden_size": 32}
    assert checked(gpt2).n_embd == 32
    with pytest.raises(ConfigError, match="hidden_size: is another name of n_embd, which has another value"):
        checked({**gpt2, "hidden_size": 64})


@pytest.mark.parametrize(
    "change",
    [
        {"rope_theta": 5e5},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": YARN},
        {"rope_parameters": None},
    ],
)
def test_rotary_parameters_with_an_effect_are_accepted(change: dict[str, Any]) -> None:
    given = {**LLAMA, **change}
    before = copy.deepcopy(given)
    config = checked(given)
    assert given == before, "transformers writes into what it is given"
    for key, value in (change.get("rope_parameters") or {}).items():
        assert config.rope_parameters[key] == value


@pytest.mark.long
@pytest.mark.parametrize("model_type", MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
def test_what_transformers_writes_itself_is_accepted(model_type: str) -> None:
    try:
        complete = CONFIG_MAPPING[model_type]().to_dict()
    except Exception as error:
        pytest.skip(f"cannot be built from defaults: {error}")
    given = {**_without_dtypes(complete), "model_type": model_type}
    if model_type == "blt":  # Computed from others, so that a given value has no effect.
        del given["global_config"]["encoder_cross_output_size"]
    before = copy.deepcopy(given)
    checked(given)
    assert given == before
    with pytest.raises(ConfigError, match="hiden_size"):
        checked({**given, "hiden_size": 3})


def _without_dtypes(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_dtypes(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key != "dtype"
    }


def test_torch_is_not_needed() -> None:
    script = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'torch' else find(name, *more)\n"
        "sys.modules['torch'] = None\n"
        "from lrps.base.errors import ConfigError\n"
        "from lrps.config.models import ModelConfig\nfrom lrps.engine.model_config import model_config\n"
        f"given = {LLAMA!r}\n"
        "assert model_config(ModelConfig(architecture=given)).hidden_size == 32\n"
        "try: model_config(ModelConfig(architecture={**given, 'num_kv_heads': 2}))\n"
        "except ConfigError as error: print(error)\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert "did you mean 'num_key_value_heads'" in shown
