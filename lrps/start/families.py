"""The model families of `lrps init`: architectures of a family in rising sizes, and the one that fits some text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lrps.config.models import ModelConfig
from lrps.paths.decoder import decoder_of

TOKENS_PER_PARAMETER = 20
"""Number of tokens for one parameter at which training from scratch spends its FLOPs best (Hoffmann et al. 2022)."""
SHAPES = (
    *((2, 64), (4, 128), (6, 256), (8, 384), (8, 512), (12, 768), (24, 1024), (24, 1536), (22, 2048)),
    *((28, 3072), (32, 4096)),
)
"""Layers and widths, smallest first."""
_HEAD_WIDTHS = ((256, 16), (1024, 64))
"""Width up to which heads have a width; above all, 128."""


@dataclass(frozen=True)
class SizedModel:
    """A model that is newly initialised."""

    architecture: dict[str, Any]
    """Fields of its Hugging Face config."""
    parameters: int
    """Number of its parameters."""


def _gated(layers: int, width: int, vocabulary: int, positions: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": -(-8 * width // 3 // 64) * 64,
        "num_hidden_layers": layers,
        "num_attention_heads": width // head_width(width),
        "num_key_value_heads": width // head_width(width),
        "head_dim": head_width(width),
        "max_position_embeddings": positions,
        "tie_word_embeddings": width < 2048,
    }


def _gpt2(layers: int, width: int, vocabulary: int, positions: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "n_embd": width,
        "n_layer": layers,
        "n_head": width // head_width(width),
        "n_positions": positions,
        **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0),
    }


FAMILIES: dict[str, Callable[[int, int, int, int], dict[str, Any]]] = {"llama": _gated, "qwen3": _gated, "gpt2": _gpt2}
"""Model type -> its architecture by layers, width, vocabulary and positions."""


def head_width(width: int) -> int:
    """Return the width of one attention head of a model of this width."""
    return next((head for most, head in _HEAD_WIDTHS if width <= most), 128)


def sized_model(family: str, tokens: float, vocabulary: int, positions: int) -> SizedModel:
    """Return the largest model of a family that has TOKENS_PER_PARAMETER tokens for each of its parameters.

    tokens: number of tokens of all versions. The smallest shape is for less text than that too.
    """
    models = (_model(family, shape, vocabulary, positions) for shape in SHAPES)
    chosen = next(models)
    for model in models:
        if model.parameters * TOKENS_PER_PARAMETER > tokens:
            break
        chosen = model
    return chosen


def _model(family: str, shape: tuple[int, int], vocabulary: int, positions: int) -> SizedModel:
    architecture = {"model_type": family, **FAMILIES[family](*shape, vocabulary, positions)}
    decoder = decoder_of(ModelConfig(architecture=architecture))
    assert decoder is not None
    return SizedModel(architecture, decoder.parameters)
