"""Which models give their loss without logits, and that it is their loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine.packed_cases import ARCHITECTURES
from torch import Tensor

from lrps.config.models import ModelConfig
from lrps.engine.losses import loss_head
from lrps.engine.losses.loss_head import enable_fused_loss
from lrps.engine.model import build_model

LLAMA = ARCHITECTURES["llama"]
SPARSE = {
    **LLAMA, "model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 1, "output_router_logits": True,
}  # fmt: skip
CAN: dict[str, dict[str, Any]] = {
    **{kind: ARCHITECTURES[kind] for kind in ("llama", "mistral", "qwen2", "qwen3", "gpt2")},
    "tied": {**LLAMA, "tie_word_embeddings": True},
    "experts without a loss of theirs": {**SPARSE, "output_router_logits": False},
    "dropout": {**ARCHITECTURES["gpt2"], "resid_pdrop": 0.3},
}
CANNOT: dict[str, dict[str, Any]] = {
    "capped logits": {**LLAMA, "model_type": "gemma2", "head_dim": 8, "final_logit_softcapping": 30.0},
    "capped logits of fresh weights": {
        **LLAMA,
        "model_type": "gemma2",
        "head_dim": 8,
        "final_logit_softcapping": 30.0,
        "initializer_range": 0.01,
    },
    "scaled logits": {**LLAMA, "model_type": "cohere", "logit_scale": 0.0625},
    "divided logits": {**LLAMA, "model_type": "granite", "logits_scaling": 8.0},
    "a loss of the experts": SPARSE,
    "a small loss of the experts": {**SPARSE, "router_aux_loss_coef": 1e-4},
}


def rows(seed: int = 0) -> Tensor:
    drawn = torch.randint(0, 97, (3, 12), generator=torch.Generator().manual_seed(seed))
    drawn[1, 4] = -100
    return drawn


def loss_and_gradients(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(1)
    model.zero_grad()
    loss = model(input_ids=rows().clamp(min=0), labels=rows()).loss
    loss.backward()
    return loss.detach(), {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def trial(model: Any) -> Tensor:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        loss: Tensor = model(input_ids=rows(1).clamp(min=0), labels=rows(1)).loss
        return loss


def built(architecture: dict[str, Any]) -> Any:
    return build_model(ModelConfig(architecture=architecture), 0).train()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_losses_that_are_not_finite_are_never_equal(bad: float) -> None:
    assert enable_fused_loss(built(LLAMA), lambda: torch.tensor(bad)) == loss_head.NOT_FINITE


@pytest.mark.parametrize("kind", CAN)
def test_the_loss_is_the_models_own(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(CAN[kind])
    loss, gradients = loss_and_gradients(model)
    assert enable_fused_loss(model, lambda: trial(model)) is None
    again, others = loss_and_gradients(model)
    assert torch.equal(again, loss), "few logits are taken at once: bit for bit"
    assert gradients.keys() == others.keys()
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)
    assert "logits" not in model(input_ids=rows().clamp(min=0), labels=rows())
    monkeypatch.setattr(loss_head, "CHUNK_ELEMENTS", 500)
    chunked, theirs = loss_and_gradients(model)
    torch.testing.assert_close(chunked, loss, rtol=1e-6, atol=0)
    for name in gradients:
        torch.testing.assert_close(theirs[name], gradients[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("elements", [2**25, 500], ids=["at once", "in chunks"])
def test_without_gradients_the_loss_of_every_token_is_kept(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_head, "CHUNK_ELEMENTS", elements)
    model = built(LLAMA).eval()
    labels = rows()
    with torch.no_grad():
        logits = model(input_ids=labels.clamp(min=0)).logits[:, :-1].float()
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
        assert enable_fused_loss(model, lambda: trial(model)) is None
        loss = model(input_ids=labels.clamp(min=0), labels=labels).loss
    head = model.get_output_embeddings()
    losses = head.token_losses.reshape(labels.shape)[:, :-1].flatten()
    predicted = labels[:, 1:].flatten() >= 0
    torch.testing.assert_close(losses[predicted], expected[predicted], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss, expected[predicted].mean(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", CANNOT)
def test_a_loss_of_more_is_found_out(kind: str) -> None:
    model = built(CANNOT[kind])
    loss, gradients = loss_and_gradients(model)
    told = enable_fused_loss(model, lambda: trial(model))
    assert told == "makes its loss of more than its last hidden states and its output layer"
    again, others = loss_and_gradients(model)
    assert torch.equal(again, loss), "it is as it was"
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)
    assert model(input_ids=rows().clamp(min=0)).logits.shape == (3, 12, 97)


def test_a_model_without_a_plain_output_layer_is_left_alone() -> None:
    model = built(LLAMA)
    model.lm_head = torch.nn.Sequential(model.lm_head)
    assert enable_fused_loss(model, lambda: trial(model)) == "has no plain output layer"


def test_a_model_with_a_learned_scale_that_changes_nothing_yet_is_left_alone() -> None:
    model = built(LLAMA)
    model.scale = torch.nn.Parameter(torch.ones(()))
    model.lm_head.register_forward_hook(lambda _, given, logits: logits * model.scale)
    assert enable_fused_loss(model, lambda: trial(model)) == "has weights outside its layers and its output layer"
    assert loss_and_gradients(model)[1]["scale"] != 0


def test_a_model_that_cannot_be_called_in_parts_is_left_alone() -> None:
    model = built(LLAMA)
    whole = model.model.forward
    model.model.forward = lambda **given: whole(**given) if "use_cache" in given else None
    told = enable_fused_loss(model, lambda: trial(model))
    assert told == "cannot be called in two parts ('NoneType' object has no attribute 'last_hidden_state')"
    assert loss_and_gradients(model)[0] > 0
