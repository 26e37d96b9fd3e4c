"""Engines of one rank without DeepSpeed, at stage 0, with an optimizer of any kind, and a tiny model to train."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from lrps.config.optimizing import BUILTIN
from lrps.engine.optimizers.engine_optimizer import set_learning_rate
from lrps.engine.optimizers.kinds import optimizer_kind

VOCABULARY = 11


def tiny_model(seed: int = 0) -> Any:
    """Return a llama with 2 layers in fp32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2}
    others = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16, "use_cache": False}
    return LlamaForCausalLM(LlamaConfig(**sizes, **others))


def plain_engine(kind: str, seed: int = 0, **settings: Any) -> Any:
    """Return an engine with a tiny model and an optimizer of a kind."""
    model = tiny_model(seed)
    optimizer = optimizer_kind(kind).make(model, BUILTIN[kind].model_validate({"kind": kind, **settings}))
    return SimpleNamespace(module=model, optimizer=optimizer, zero_optimization_stage=lambda: 0)


def take_steps(engine: Any, steps: range, lr: float = 1e-2) -> list[float]:
    """Take steps on rows that follow from their numbers, and return the losses."""
    losses = []
    for step in steps:
        rows = torch.randint(VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(step))
        loss = engine.module(input_ids=rows, labels=rows).loss
        loss.backward()
        set_learning_rate(engine, lr / (1 + step))
        engine.optimizer.step()
        engine.optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses
