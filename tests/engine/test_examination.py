"""Which models train what lrps measures: each fault is found on a small copy, and sound models pass."""

from __future__ import annotations

import contextlib
import copy
import time
from typing import Any

import pytest
import torch
from engine.packed_cases import ARCHITECTURES, DEPENDING
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as TYPES
from transformers.utils import logging

from lrps.base.errors import ConfigError
from lrps.config.models import ModelConfig
from lrps.engine.examination import Demands, Trial, Verdict, examine_config, make_trial
from lrps.engine.model import build_model, build_skeleton, initialised
from lrps.engine.model_config import model_config
from lrps.engine.shrink import layers_of_all_kinds, shrunken

_WIDE = {"vocab_size": 257, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_GATED = {**_WIDE, "intermediate_size": 64, "num_key_value_heads": 2}
SOUND: dict[str, dict[str, Any]] = {
    **{kind: ARCHITECTURES[kind] for kind in ("llama", "gpt2", "mistral with a window", "qwen3")},
    "a loss of the experts": {
        **_GATED, "model_type": "mixtral", "num_local_experts": 4, "output_router_logits": True,
    },
    "capped logits": {**_GATED, "model_type": "gemma2", "head_dim": 8},
    "padding beyond the vocabulary": {**_GATED, "model_type": "phi3"},
    "rope in nested keys": {**_GATED, "model_type": "llama", "rope_parameters": {"rope_type": "linear", "factor": 2.0}},
    "an encoder as a decoder": {**_WIDE, "model_type": "bert", "intermediate_size": 64, "is_decoder": True},
    "recurrent": {"model_type": "mamba", "vocab_size": 257, "hidden_size": 32, "num_hidden_layers": 2},
}  # fmt: skip
BART = {
    "model_type": "bart", "vocab_size": 257, "d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4,
    "decoder_ffn_dim": 128, "encoder_layers": 1, "encoder_attention_heads": 4, "encoder_ffn_dim": 128,
}  # fmt: skip
OPENAI = {"model_type": "openai-gpt", "vocab_size": 257, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
FAULTY: dict[str, tuple[dict[str, Any], Demands, str]] = {
    "trains on what it is given": (BART, Demands(32), r"a bart model has a loss .* predicts the token that it is"),
    "frozen positions": (
        {**_WIDE, "model_type": "roformer", "intermediate_size": 64, "is_decoder": True},
        Demands(32),
        r"a roformer model has frozen parameters.*: roformer.encoder.embed_positions.weight",
    ),
    "an encoder": (
        {**_WIDE, "model_type": "bert", "intermediate_size": 64},
        Demands(32),
        r"a bert model is not causal.*set model.architecture.is_decoder: true",
    ),
    "no activation checkpointing": (
        OPENAI,
        Demands(32, activation_checkpointing=True),
        r"engine.activation_checkpointing: a openai-gpt model does not support it; leave the key out",
    ),
    "documents meet": (
        DEPENDING["mamba"],
        Demands(32, documents_apart=True),
        r"data.attention_across_documents: a mamba model takes no position_ids",
    ),
    "no chunked loss": (
        {**SOUND["capped logits"], "final_logit_softcapping": 30.0},
        Demands(32, chunked_loss=True),
        r"engine.cross_entropy: a gemma2 model makes its loss of more",
    ),
    "an attention kernel": (
        {"model_type": "bloom", "vocab_size": 97, "hidden_size": 32, "n_layer": 1, "n_head": 4},
        Demands(32, attention="sdpa"),
        r"engine.attention: a bloom model has eager only; leave the key out",
    ),
}  # fmt: skip


def examined(architecture: dict[str, Any], demands: Demands) -> Any:
    return examine_config(model_config(ModelConfig(architecture=architecture)), demands)


@pytest.mark.parametrize("kind", SOUND)
def test_sound_models_pass(kind: str) -> None:
    verdict = examined(SOUND[kind], Demands(32))
    assert (verdict.faults, verdict.notes) == ((), ())


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_a_config_asks_for_is_found(kind: str) -> None:
    demands = Demands(32, activation_checkpointing=True, attention="eager", documents_apart=True, chunked_loss=True)
    assert examined(ARCHITECTURES[kind], demands).faults == ()


@pytest.mark.parametrize("kind", FAULTY)
def test_each_fault_is_found_and_named(kind: str) -> None:
    architecture, demands, message = FAULTY[kind]
    faults = examined(architecture, demands).faults
    assert len(faults) == 1
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(faults[0])


def test_a_row_that_is_not_trained_and_a_weight_without_gradient_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from lrps.engine import examination

    trial = make_trial(model_config(ModelConfig(architecture=SOUND["llama"])), Demands(32))
    assert isinstance(trial, Trial)
    trial.model.get_input_embeddings().padding_idx = int(trial.rows[0, 0])
    norm = trial.model.model.norm
    whole = norm.forward
    norm.forward = lambda hidden: whole(hidden) + (norm.weight * hidden - norm.weight * hidden).detach()
    layer = trial.model.model.layers[0].mlp
    up = layer.up_proj
    up.forward = lambda hidden: torch.nn.functional.linear(hidden, up.weight.detach())
    faults, unused = examination._gradients(trial)
    assert unused == []
    assert "get no gradient though the logits depend on them: model.layers.0.mlp.up_proj.weight" in faults[0]
    assert f"does not train row {int(trial.rows[0, 0])} of model.embed_tokens.weight" in faults[1]


def test_a_copy_has_a_layer_of_each_kind_and_least_widths() -> None:
    large = AutoConfig.for_model("gemma3_text")
    with torch.device("meta"):
        layers = layers_of_all_kinds(large, initialised(copy.deepcopy(large), 0))
    assert layers == 1 + large.layer_types.index("full_attention")
    before = large.to_dict()
    trial = make_trial(large, Demands(4096))
    assert isinstance(trial, Trial)
    assert large.to_dict() == before
    assert set(trial.model.config.layer_types) == {"sliding_attention", "full_attention"}
    assert sum(each.numel() for each in trial.model.parameters()) < 10**6


def test_a_model_of_which_no_copy_runs_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    config = model_config(ModelConfig(architecture=SOUND["llama"]))
    monkeypatch.setattr("lrps.engine.examination._LARGEST_TRIAL", 100)
    assert examine_config(config, Demands(32)) == Verdict(
        notes=("not examined: no small copy of a llama model runs: they are too large",)
    )


def test_building_a_model_does_not_change_its_config() -> None:
    nested = ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}},
              {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 2.0}})  # fmt: skip
    for keys in nested:
        model = ModelConfig(architecture={**_GATED, "model_type": "llama", **keys})
        before = copy.deepcopy(model.architecture)
        build_model(model, 0)
        build_skeleton(model)
        model_config(model)
        assert model.architecture == before


# Every type that transformers has

OTHER_LOSS = (
    "bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "marian", "mbart", "mvp", "pegasus", "plbart", "trocr",
    "whisper",
)  # fmt: skip
FROZEN = ("afmoe", "blt", "ernie4_5_moe", "hrm_text", "laguna", "moss_transcribe_diarize", "roformer")
NOT_TRAINED = {
    **dict.fromkeys(OTHER_LOSS, "that is not the cross-entropy of the next token"),
    **dict.fromkeys(("cpmant", "xlm", "xlnet"), "is not causal"),
    **dict.fromkeys(FROZEN, "has frozen parameters"),
    **dict.fromkeys(("prophetnet", "reformer", "xmod"), "cannot be trained: a forward pass fails"),
    "git": "cannot compute its loss",
}
"""Type -> part of its first fault. Types that transformers cannot build in their default size are not listed."""
NOT_BUILT = "model can be built from it"


def default_config(kind: str) -> Any:
    config = AutoConfig.for_model(kind)
    if hasattr(config, "is_decoder"):
        config.is_decoder = True
    return config


@pytest.mark.long
def test_the_verdict_on_every_type() -> None:
    """In its default size and with its causal mask on. Prints type, seconds, verdict and reason."""
    logging.set_verbosity_error()
    found: dict[str, str] = {}
    for kind in sorted(TYPES):
        began = time.process_time()
        try:
            verdict = examine_config(default_config(kind), Demands(64))
        except Exception as error:
            print(f"{kind:26} no default config: {type(error).__name__}")
            continue
        word = "refused" if verdict.faults else "trains"
        print(f"{kind:26} {time.process_time() - began:5.1f} s  {word:8} {'; '.join(verdict.faults + verdict.notes)}")
        if verdict.faults and NOT_BUILT not in verdict.faults[0]:
            found[kind] = verdict.faults[0]
    expected = {kind: reason for kind, reason in NOT_TRAINED.items() if kind in TYPES}
    assert {kind: reason for kind, reason in found.items() if expected.get(kind, "?") not in reason} == {}
    assert expected.keys() - found.keys() == set()


@pytest.mark.long
def test_no_type_changes_the_config_that_it_is_built_from() -> None:
    logging.set_verbosity_error()
    built = 0
    for kind in sorted(TYPES):
        try:
            config = default_config(kind)
        except Exception:  # Its class does not accept its own defaults.
            continue
        for values in shrunken(config, 2):
            nested = {key: value for key, value in values.items() if isinstance(value, dict) and key != "id2label"}
            architecture = {"model_type": kind, "vocab_size": values.get("vocab_size", 128), **nested}
            before = copy.deepcopy(architecture)
            with contextlib.suppress(ConfigError):
                build_skeleton(ModelConfig(architecture=architecture))
                built += 1
            assert architecture == before, kind
            break
    assert built > 100
