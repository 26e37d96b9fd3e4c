"""Models whose rows can be divided, and the reasons why others are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING
from transformers.models.llama.modeling_llama import LlamaMLP

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.engine.sequence import support
from lrps.engine.sequence.support import check_support

SIZES = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": None, "bos_token_id": None,
    "eos_token_id": None,
}  # fmt: skip
WITHOUT_SUCH_HEADS = ("gpt2", "falcon", "mamba")


@pytest.fixture
def check(make_config: Callable[..., Config]) -> Callable[..., None]:
    """A function that checks a model type with some fields, of which `parts` processes share each row."""

    def checked(kind: str, parts: int = 2, apart: bool = True, **fields: Any) -> None:
        config = make_config(
            data={
                "root": "d",
                "sequence_length": 48,
                "versions": [{"name": "v1"}],
                "attention_across_documents": not apart,
            },
            engine={"sequence_parallel": parts},
            launch={"processes": parts},
        )
        sizes = {} if kind in WITHOUT_SUCH_HEADS else SIZES
        check_support(config, CONFIG_MAPPING[kind](**{**sizes, **fields}))

    return checked


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("llama", {}),
        ("llama", {"parts": 4}),  # Key-value heads are repeated.
        ("llama", {"apart": False}),
        ("llama", {"parts": 3, "num_attention_heads": 6, "num_key_value_heads": 3}),
        ("mistral", {"sliding_window": None}),
        ("qwen2", {}),
        ("qwen3", {"head_dim": 8}),
        ("mixtral", {"num_local_experts": 4}),
    ],
)
def test_models_with_full_attention_are_taken(check: Callable[..., None], kind: str, fields: dict[str, Any]) -> None:
    check(kind, **fields)


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        ("mistral", {"sliding_window": 16}, "a mistral model has sliding_window 16"),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 0}, "layers of sliding_attention"),
        ("gemma2", {"head_dim": 8}, "a gemma2 model has layers of sliding_attention"),
        ("gemma3_text", {"head_dim": 8}, "layers of sliding_attention"),
        ("llama4_text", {}, "layers of chunked_attention"),
        ("jamba", {}, "layers of linear_attention"),
        ("falcon_h1", {}, "layers of hybrid"),
        ("gpt2", {}, "a gpt2 model has no num_key_value_heads"),
        ("falcon", {}, "a falcon model has no num_key_value_heads"),
        ("mamba", {}, "a mamba model has no num_attention_heads"),
        ("llama", {"num_attention_heads": 3, "num_key_value_heads": 3}, "3 attention heads, which 2 processes cannot"),
        ("llama", {"parts": 3, "num_attention_heads": 6}, "2 key-value heads, which 3 processes can neither divide"),
        ("mixtral", {"output_router_logits": True}, "output_router_logits"),
    ],
)
def test_other_models_are_refused_by_name(
    check: Callable[..., None], kind: str, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=f"engine.sequence_parallel: .*{why}.*; leave the key out"):
        check(kind, **fields)


def test_layers_that_mix_tokens_outside_of_attention_are_found(
    check: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, hidden: plain(self, hidden + hidden.cumsum(1)))
    with pytest.raises(ConfigError, match="a llama model mixes tokens outside of its attention"):
        check("llama")


def test_an_attention_that_lets_documents_meet_is_found(
    check: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def causal(positions: torch.Tensor) -> torch.Tensor:
        rows, length = positions.shape
        return torch.ones(rows, 1, length, length, dtype=torch.bool).tril()

    monkeypatch.setattr("lrps.engine.sequence.attention.document_mask", causal)
    check("llama", apart=False)
    with pytest.raises(ConfigError, match="attends in a way of its own"):
        check("llama")


def test_a_model_that_cannot_be_tried_is_refused(check: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "_has_whole_heads", lambda _: False)
    monkeypatch.setattr("lrps.engine.examination._LARGEST_TRIAL", 0)
    with pytest.raises(ConfigError, match="cannot be tried"):
        check("llama")
