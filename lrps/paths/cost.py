"""What a graph will cost: FLOPs, device-hours, money and disk, from the config alone. Imports no torch.

FLOPs per trained token = 6 (N - input embedding, unless it is tied to the output) + 12 L H Q S: PaLM, appendix B
(L layers, H heads, Q head size, S sequence length; no causal halving, no recomputation). Every token is taken to
attend over a whole row, so with attention within documents the formula is an upper bound.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrps.config.models import Config, Hardware, Model
from lrps.errors import ConfigError

PEAK_TFLOPS = {
    "A100": 312.0,
    "H100": 989.0,
    "H100-PCIe": 756.0,
    "H200": 989.0,
    "H20": 148.0,
    "B200": 2250.0,
}
"""Dense bf16 peak of one device, from the makers' data sheets. An unknown device is n/a, never 0."""

BYTES_PER_PARAMETER = 12
"""A checkpoint holds the fp32 weight and two Adam moments."""


@dataclass(frozen=True)
class Parameters:
    """Sizes of a model that the FLOP formula needs."""

    total: int
    input_embedding: int
    """Parameters of an input embedding that is not also the output matrix; 0 when they are tied."""
    layers: int
    attention_width: int
    """Heads times head size."""

    def flops_per_token(self, sequence_length: int) -> int:
        """Training FLOPs, forward and backward, of one token in a row of `sequence_length` tokens."""
        return 6 * (self.total - self.input_embedding) + 12 * self.layers * self.attention_width * sequence_length


def architecture_of(model: Model) -> dict[str, Any]:
    """The fields of its Hugging Face config, as they are written; ConfigError if a checkpoint directory has none."""
    architecture = model.architecture
    if architecture is None and model.checkpoint is not None:
        try:
            architecture = json.loads((model.checkpoint / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"model.checkpoint: {model.checkpoint}/config.json cannot be read: {error}") from None
    if not isinstance(architecture, dict):
        raise ConfigError(f"model.checkpoint: {model.checkpoint}/config.json is not the config of a model")
    return architecture


def count_parameters(model: Model) -> Parameters | None:
    """Count without building the model; None for a model type that is not known here."""
    architecture = architecture_of(model)
    count = _COUNTERS.get(str(architecture.get("model_type")))
    try:
        return count(architecture) if count else None
    except KeyError:
        return None
    except (TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"model.architecture: its sizes must be whole numbers above 0 ({error})") from None


def _gated_decoder(a: Mapping[str, Any]) -> Parameters:
    """llama, mistral, qwen2, qwen3: gated MLP, RMS norms, rotary positions, grouped queries."""
    kind, width, layers, heads = a["model_type"], a["hidden_size"], a["num_hidden_layers"], a["num_attention_heads"]
    kv_heads = a["num_key_value_heads"] if kind != "llama" else a.get("num_key_value_heads") or heads
    head = a["head_dim"] if kind == "qwen3" else a.get("head_dim") or width // heads
    query, key_value, inner = heads * head, kv_heads * head, a["intermediate_size"]
    attention = 2 * width * query + 2 * width * key_value
    if kind == "qwen2":
        attention += query + 2 * key_value
    elif a.get("attention_bias"):
        attention += query + 2 * key_value + width
    if kind == "qwen3":
        attention += 2 * head
    mlp = 3 * width * inner + (2 * inner + width if a.get("mlp_bias") else 0)
    embedding, tied = a["vocab_size"] * width, bool(a.get("tie_word_embeddings", False))
    total = layers * (attention + mlp + 2 * width) + width + embedding * (1 if tied else 2)
    return Parameters(total, 0 if tied else embedding, layers, query)


def _gpt2(a: Mapping[str, Any]) -> Parameters:
    """Learned positions, layer norms, biases everywhere, tied embeddings."""
    width, layers = a["n_embd"], a["n_layer"]
    inner = a.get("n_inner") or 4 * width
    block = (4 * width * width + 4 * width) + (2 * width * inner + inner + width) + 4 * width
    positions = a.get("n_positions", 1024) * width
    tied = a.get("tie_word_embeddings", True)
    embedding = a["vocab_size"] * width
    total = layers * block + 2 * width + positions + embedding * (1 if tied else 2)
    return Parameters(total, positions + (0 if tied else embedding), layers, width)


_COUNTERS = {
    "llama": _gated_decoder,
    "mistral": _gated_decoder,
    "qwen2": _gated_decoder,
    "qwen3": _gated_decoder,
    "gpt2": _gpt2,
}


@dataclass(frozen=True)
class Cost:
    """What some steps cost. None means not applicable: it cannot be computed from what the config says."""

    steps: int
    tokens: int
    flops: int | None
    device_hours: float | None
    money: float | None


@dataclass(frozen=True)
class CostModel:
    """Turns steps into tokens, FLOPs, device-hours and money."""

    tokens_per_step: int
    flops_per_token: int | None
    flops_per_device_hour: float | None
    price_per_device_hour: float | None
    currency: str | None
    checkpoint_bytes: int | None

    def of(self, steps: int) -> Cost:
        tokens = steps * self.tokens_per_step
        flops = None if self.flops_per_token is None else tokens * self.flops_per_token
        hours = None if flops is None or self.flops_per_device_hour is None else flops / self.flops_per_device_hour
        money = None if hours is None or self.price_per_device_hour is None else hours * self.price_per_device_hour
        return Cost(steps, tokens, flops, hours, money)


def peak_flops(hardware: Hardware | None) -> float | None:
    """Peak FLOP/s of one device; None when it is not known."""
    if hardware is None:
        return None
    known = {name.lower(): tflops for name, tflops in PEAK_TFLOPS.items()}
    tflops = hardware.peak_tflops or known.get(hardware.device.lower())
    return None if tflops is None else tflops * 1e12


def cost_model(config: Config) -> CostModel:
    """The cost model of a config; what it cannot know is None."""
    parameters, hardware = count_parameters(config.model), config.hardware
    total = parameters.total if parameters else config.model.parameters
    length = config.data.sequence_length
    if parameters is not None:
        per_token: int | None = parameters.flops_per_token(length)
    else:  # without the shape of the model its attention cannot be counted
        per_token = None if config.model.parameters is None else 6 * config.model.parameters
    peak = peak_flops(hardware)
    price = hardware.price_per_device_hour if hardware else None
    return CostModel(
        tokens_per_step=config.tokens_per_step,
        flops_per_token=per_token,
        flops_per_device_hour=None if peak is None or hardware is None else peak * hardware.mfu * 3600,
        price_per_device_hour=price.amount if price else None,
        currency=price.currency if price else None,
        checkpoint_bytes=None if total is None else total * BYTES_PER_PARAMETER,
    )


def ptfs_steps(increments: list[int]) -> int:
    """Closed form: sum over k of T_1 + .. + T_k."""
    return sum((len(increments) - i) * steps for i, steps in enumerate(increments))


def cpt_steps(increments: list[int]) -> int:
    """Closed form: every increment once."""
    return sum(increments)
