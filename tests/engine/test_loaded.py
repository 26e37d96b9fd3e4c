"""Checkpoint directories whose weights are not those of their config.json, or no numbers, are refused when loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lrps.base.errors import ConfigError
from lrps.config.models import Config, ModelConfig
from lrps.engine.model import build_model, check_checkpoint
from lrps.engine.model_config import model_config
from lrps.engine.verdict import check_trainable
from support.model_directories import LLAMA, WEIGHTS, change_json, change_weights, logits, model_directory

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory.mktemp("model"))


def built(directory: Path) -> Any:
    return build_model(ModelConfig(checkpoint=directory), seed=0)


def config(**values: Any) -> Callable[[Path], None]:
    return lambda directory: change_json(directory / "config.json", lambda all_values: all_values.update(values))


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    return lambda directory: change_weights(directory, change)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a layer too few": (
        config(num_hidden_layers=3),
        r"lacks weights: model.layers.2.* and 4 more; use a whole model",
    ),
    "a layer too many": (
        config(num_hidden_layers=1),
        r"of its config.json does not have: model.layers.1",
    ),
    "no head": (weights(lambda w: w.pop(HEAD)), r"lacks weights: lm_head.weight; if .*tie_word_embeddings: true"),
    "tied config, other head": (config(tie_word_embeddings=True), r"lm_head.weight differs from .*remove lm_head"),
    "other vocabulary": (
        config(vocab_size=101),
        r"has the shape \(97, 32\) in the files and \(101, 32\) by config",
    ),
    "NaN": (weights(lambda w: w[EMBEDDING][3, 4].fill_(torch.nan)), r"embed_tokens.weight has values that are NaN"),
    "infinite": (weights(lambda w: w[HEAD][3, 4].fill_(-torch.inf)), r"lm_head.weight has values that are NaN or inf"),
    "no such type": (config(model_type="lama"), r"config.json: transformers knows .* did you mean 'llama'"),
    "no language model": (config(model_type="vit"), r"transformers knows no causal language model 'vit'"),
}
OF_VALUES = ("tied config, other head", "NaN", "infinite")
"""Kinds that only the values show."""


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_directory_is_refused(kind: str, untied: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(untied, tmp_path / "model"))
    breaks, expected = BROKEN[kind]
    breaks(directory)
    with pytest.raises(ConfigError, match=f"^model.checkpoint: .*{expected}"):
        built(directory)
    if kind in OF_VALUES:
        check_checkpoint(directory, model_config(ModelConfig(checkpoint=directory)))
    else:
        with pytest.raises(ConfigError, match=f"^model.checkpoint: .*{expected}"):
            check_checkpoint(directory, model_config(ModelConfig(checkpoint=directory)))


def test_a_classifier_is_no_language_model(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    sizes = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    LlamaForSequenceClassification(LlamaConfig(**sizes, num_hidden_layers=1)).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="lacks weights: lm_head.weight; use a whole model"):
        built(tmp_path)


def test_a_tied_model_may_have_its_head_in_the_files_too(tmp_path: Path) -> None:
    directory = model_directory(tmp_path, tie_word_embeddings=True)
    expected = logits(built(directory))
    change_weights(directory, lambda w: w.update({HEAD: w[EMBEDDING].clone()}))
    model = built(directory)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(logits(model), expected)


def test_an_untied_head_may_be_equal_to_the_embedding(untied: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(untied, tmp_path / "model"))
    change_weights(directory, lambda w: w.update({HEAD: w[EMBEDDING].clone()}))
    assert built(directory).lm_head.weight is not built(directory).model.embed_tokens.weight


def test_what_transformers_itself_leaves_out_is_no_surplus(untied: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(untied, tmp_path / "model"))
    change_weights(directory, lambda w: w.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    assert torch.equal(logits(built(directory)), logits(AutoModelForCausalLM.from_pretrained(untied)))


def test_a_model_in_several_files_is_the_same(untied: Path, tmp_path: Path) -> None:
    assert torch.equal(logits(built(model_directory(tmp_path, shards=3))), logits(built(untied)))


def test_a_run_begun_with_surplus_weights_keeps_them_and_says_so(
    untied: Path, tmp_path: Path, make_config: Callable[..., Config]
) -> None:
    directory = Path(shutil.copytree(untied, tmp_path / "model"))
    change_weights(directory, lambda w: w.update({"v_head.weight": torch.ones(1, 32)}))
    with pytest.raises(ConfigError, match="does not have: v_head.weight"):
        built(directory)
    assert torch.equal(logits(build_model(ModelConfig(checkpoint=directory), 0, begun=True)), logits(built(untied)))
    described = make_config(model={"checkpoint": str(directory)})
    (note,) = check_trainable(described, model_config(described.model, begun=True), begun=True)
    assert "does not have: v_head.weight" in note


MIXTRAL = {"model_type": "mixtral", "num_local_experts": 4}
GPT2 = {
    "model_type": "gpt2", "vocab_size": 97, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64,
}  # fmt: skip


@pytest.mark.parametrize("architecture", [{}, MIXTRAL, GPT2], ids=["llama", "fused experts", "names without prefix"])
def test_weights_are_compared_without_accelerate(
    architecture: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.integrations.accelerate.is_accelerate_available", lambda *_: False)
    directory = tmp_path / "model"
    complete = architecture if "vocab_size" in architecture else {**LLAMA, **architecture}
    build_model(ModelConfig(architecture=complete), 0).save_pretrained(directory)
    if architecture is GPT2:  # As on the Hugging Face Hub.
        change_weights(directory, lambda w: [w.update({n.removeprefix("transformer."): w.pop(n)}) for n in list(w)])
    check_checkpoint(directory, model_config(ModelConfig(checkpoint=directory)))
    norm = min(name for name in load_file(directory / WEIGHTS) if "norm" in name or "ln_" in name)
    change_weights(directory, lambda w: w.pop(norm))
    with pytest.raises(ConfigError, match=f"lacks weights: .*{norm}"):
        check_checkpoint(directory, model_config(ModelConfig(checkpoint=directory)))
