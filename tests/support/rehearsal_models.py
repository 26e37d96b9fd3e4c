"""Tiny models as Hugging Face directories, for tests that generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lrps.config.models import ModelConfig
from lrps.data.data_tokenizer import open_tokenizer
from lrps.data.tokenizer import train_tokenizer
from lrps.engine.model import build_model
from lrps.export.release import write_tokenizer
from support.tokenizers import load_tokenizer
from support.values import config_values


def save_model(directory: Path, model: Any) -> Path:
    """Save a model with a tokenizer of plain bytes and its EOS token, and return the directory."""
    directory.mkdir(parents=True)
    tokenizer = train_tokenizer(["a"], 257, directory / "bytes.json")
    if model.lm_head.bias is not None:  # Only letters and the EOS token, because random bytes are no text.
        letters = load_tokenizer(directory / "bytes.json")[0].encode("abcdefghijklmnopqrstuvwxyz ").ids
        with torch.no_grad():
            model.lm_head.bias.fill_(-100.0)
            model.lm_head.bias[letters] = 0.0
            model.lm_head.bias[tokenizer.eos] = -1.0
    model.generation_config.eos_token_id = model.config.eos_token_id = tokenizer.eos
    model.save_pretrained(directory)
    write_tokenizer(open_tokenizer(directory / "bytes.json"), directory, 64)
    return directory


def tiny_model(seed: int, plain: dict[str, Any] | None = None, **changes: Any) -> Any:
    """Return a random llama of 64 positions with some keys changed, or a model of the `plain` architecture.

    Its weights are large enough for text of more than one letter.
    """
    architecture = plain or {**config_values()["model"]["architecture"], **changes}
    model: Any = build_model(ModelConfig(architecture=architecture), seed)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.mul_(8)
    return model


def letters_model(seed: int) -> Any:
    """Return a random model with a bias on its output, which `save_model` uses to restrict its text to letters."""
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return tiny_model(seed, plain={"model_type": "phi", "vocab_size": 257, "max_position_embeddings": 64, **shape})
