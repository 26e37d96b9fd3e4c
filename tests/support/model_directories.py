"""Directories of tiny Hugging Face models, written by transformers, and changes that break them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lrps.config.models import ModelConfig
from lrps.engine.model import build_model

LLAMA = {
    "model_type": "llama", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def model_directory(directory: Path, shards: int = 1, **architecture: Any) -> Path:
    """Save a tiny Llama in one file, or in some, and return the directory."""
    model = build_model(ModelConfig(architecture={**LLAMA, **architecture}), seed=5)
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    model.save_pretrained(directory, max_shard_size=size // shards + 1 if shards > 1 else size + 1)
    return directory


def change_json(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write a JSON file again after a change of its values."""
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def change_weights(directory: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Write the weights of a directory with one file again after a change of the tensors."""
    tensors = {name: values.clone() for name, values in load_file(directory / WEIGHTS).items()}
    change(tensors)
    save_file(tensors, directory / WEIGHTS, {"format": "pt"})


def logits(model: Any) -> Tensor:
    """Return the logits of some sequences."""
    with torch.no_grad():
        values: Tensor = model.eval()(input_ids=torch.arange(60).view(3, 20)).logits
    return values
