"""Skeletons: the names and ties of the model that transformers builds, without memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lrps.engine.build.skeleton import make_skeleton
from lrps.engine.padding import padding_rows

LLAMA = {
    "model_type": "llama", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
    "num_attention_heads": 4, "pad_token_id": 5,
}  # fmt: skip
TIED = {**LLAMA, "tie_word_embeddings": True}


@pytest.mark.parametrize("architecture", [LLAMA, TIED], ids=["untied", "tied"])
def test_it_has_the_names_of_the_model_once_tied(architecture: dict[str, Any]) -> None:
    config = AutoConfig.for_model(**architecture)
    real = AutoModelForCausalLM.from_config(config)
    skeleton = make_skeleton(config)
    assert {each.device.type for each in skeleton.model.parameters()} == {"meta"}
    skeleton.tie()
    assert [name for name, _ in skeleton.model.named_parameters()] == [name for name, _ in real.named_parameters()]
    assert list(skeleton.model.state_dict()) == list(real.state_dict())


def test_a_tied_parameter_is_its_source_and_is_separate_before() -> None:
    skeleton = make_skeleton(AutoConfig.for_model(**TIED))
    assert skeleton.ties == {"lm_head.weight": "model.embed_tokens.weight"}
    assert skeleton.tensor("lm_head.weight") is not skeleton.tensor("model.embed_tokens.weight")
    skeleton.tie()
    assert skeleton.tensor("lm_head.weight") is skeleton.tensor("model.embed_tokens.weight")


def test_padding_rows_are_those_that_are_asked_for_and_the_config_is_not_changed() -> None:
    config = AutoConfig.for_model(**LLAMA)
    assert padding_rows(make_skeleton(config).model) == {}
    assert padding_rows(make_skeleton(config, keeps_padding=True).model) == {"model.embed_tokens": 5}
    of_checkpoint = make_skeleton(config, redraws_padding=False).model
    assert padding_rows(of_checkpoint) == {}
    assert (of_checkpoint.config.pad_token_id, config.pad_token_id) == (5, 5)


def test_a_tensor_that_is_set_keeps_its_marks_and_whether_it_is_trained() -> None:
    skeleton = make_skeleton(AutoConfig.for_model(**LLAMA))
    before: Any = skeleton.tensor("lm_head.weight")
    before.requires_grad_(False)._no_weight_decay = True
    after: Any = skeleton.set_tensor("lm_head.weight", torch.ones(97, 32))
    assert skeleton.model.lm_head.weight is after
    assert (after.requires_grad, after._no_weight_decay, after.sum().item()) == (False, True, 97 * 32)
