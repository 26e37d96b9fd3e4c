"""Embeddings without a padding row: sequences are never padded, so every row is of a token or a position that is used.

transformers marks the row of pad_token_id as padding: it starts at zero and gets no gradient, whichever token has that
id. Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

NO_TOKEN = -1
"""Padding token of models that compare tokens with it, for example to count positions: no token is equal to it."""


def drop_padding(config: Any, token: int | None = None) -> None:
    """Set the padding token of a transformers config and of the configs within it, from which no model is built yet.

    token: None, or NO_TOKEN for models that need a number. A config whose class needs one gets NO_TOKEN in any case.
    """
    for each in _configs(config):
        if getattr(each, "pad_token_id", None) is not None or token is not None:
            try:
                each.pad_token_id = token
            except Exception:  # Some classes of transformers check types, with an error of huggingface_hub.
                each.pad_token_id = NO_TOKEN


def needs_padding_token(model: Any) -> bool:
    """Return True if a forward pass needs the number of the padding token.

    RoBERTa and XLM compare tokens with it, and models of several inputs put it in the place of images.
    """
    marks = ("create_position_ids_from_input_ids", "pad_index")
    if any(hasattr(module, mark) for module in model.modules() for mark in marks):
        return True
    return model.config.get_text_config() is not model.config


def padding_rows(model: nn.Module) -> dict[str, int]:
    """Return name -> row of every embedding that does not train one of its rows."""
    return {
        name: module.padding_idx
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module.padding_idx is not None
    }


@torch.no_grad()
def train_padding_rows(model: nn.Module, redraw: bool) -> None:
    """Let embeddings train all of their rows.

    redraw: draw the rows that began at zero from a normal distribution as wide as that of the other rows.
    """
    for name, row in padding_rows(model).items():
        embedding: Any = model.get_submodule(name)
        embedding.padding_idx = None
        if redraw:
            embedding.weight[row].normal_(0.0, float(embedding.weight.std()) if not embedding.weight.is_meta else 1.0)


def _configs(config: Any) -> Iterator[Any]:
    yield config
    for name in getattr(config, "sub_configs", ()):
        if (each := getattr(config, name, None)) is not None:
            yield from _configs(each)
