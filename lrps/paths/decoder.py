"""Sizes of a decoder that costs and memory depend on: tensors, FLOPs, and activations saved for the backward pass.

Activations are counted for transformers' modules, one operation at a time; torch.compile fuses operations and saves
fewer. The method is that of Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models, MLSys
2023, section 4, with the numbers of today's models: RMS norms in fp32, gated MLPs, attention that saves no scores.
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lrps.base.errors import ConfigError
from lrps.config.models import ModelConfig
from lrps.paths.known_architectures import architecture_of, why_not_counted
from lrps.paths.optimizer_states import ParameterCount

Precision = Literal["fp32", "bf16"]
BYTES = {"fp32": 4, "bf16": 2}
"""Bytes of a weight, a gradient or an activation in each precision."""
FP32 = 4
"""Bytes of an fp32 number."""
_DROPOUT = 0.1
"""Dropout of GPT-2 if the architecture does not give one."""


@dataclass(frozen=True)
class Decoder:
    """A decoder of equal layers. Widths are numbers of elements for one token."""

    layers: int
    width: int
    """Hidden size."""
    heads: int
    """Number of query heads."""
    query: int
    """Width of all queries together."""
    key_value: int
    """Width of all keys together, which is also that of the values."""
    inner: int
    """Inner width of the MLP."""
    inner_kept: int
    """Number of tensors of the inner width that the MLP saves for the backward pass."""
    rms_norms: bool
    """Whether the norms are RMS norms, computed in fp32 in every precision; else layer norms, each one kernel."""
    head_norms: bool
    """Whether queries and keys are normed."""
    dropout_masks: int
    """Number of dropout masks of a layer, each with one byte for each element of the width."""
    vocabulary: int
    positions: int
    """Number of learned positions; 0 for rotary positions."""
    tied: bool
    """Whether the input embedding is also the output matrix."""
    layer_tensors: tuple[int, ...]
    """Number of elements of each parameter of a layer."""
    other_tensors: tuple[int, ...]
    """Number of elements of each parameter outside the layers."""
    linear_tensors: tuple[int, ...] = ()
    """Number of elements of each weight matrix of a torch.nn.Linear in a layer: some of layer_tensors."""

    @property
    def parameters(self) -> int:
        """Number of all parameters."""
        return self.layers * sum(self.layer_tensors) + sum(self.other_tensors)

    @property
    def counted(self) -> ParameterCount:
        """Number of all parameters, and of those in matrices of linear layers."""
        largest = max(self.linear_tensors, default=0)
        return ParameterCount(self.parameters, self.layers * sum(self.linear_tensors), largest)

    @property
    def input_embedding(self) -> int:
        """Number of parameters that only look up a token or a position. A tied input embedding does not count."""
        return self.positions * self.width + (0 if self.tied else self.head)

    def flops_per_token(self, length: int) -> int:
        """Return the training FLOPs, forward and backward, of one token in a row of `length` tokens.

        6 (P - P_in) + 12 L H Q S, without causal halving and recomputation: Chowdhery et al. 2022 (PaLM), appendix B;
        docs/method.md, section 4.1.
        """
        return 6 * (self.parameters - self.input_embedding) + 12 * self.layers * self.query * length

    @property
    def largest_tensor(self) -> int:
        """Number of elements of the largest parameter."""
        return max(*self.layer_tensors, *self.other_tensors)

    @property
    def head(self) -> int:
        """Number of elements of the output matrix."""
        return self.vocabulary * self.width

    def parameters_in_tensors_up_to(self, elements: int) -> int:
        """Return the number of parameters in tensors of at most this number of elements."""
        of_layer = sum(size for size in self.layer_tensors if size <= elements)
        return self.layers * of_layer + sum(size for size in self.other_tensors if size <= elements)

    def kept_by_norm(self, width: int, precision: Precision) -> int:
        """Return the bytes for each token that a norm saves, its output included: input, normed input, output."""
        if not self.rms_norms:
            return 2 * BYTES[precision] * width
        return (FP32 + 2 * BYTES[precision]) * width

    def kept_by_layer(self, precision: Precision, length: int, attention: str | None, masked: bool) -> int:
        """Return the bytes for each token that a layer saves for the backward pass.

        attention: the kernel; None is sdpa. masked: whether attention is within documents. Then sdpa takes an explicit
        mask, and like eager attention it needs a key and a value for every query head; the flash kernels need neither.
        """
        size = BYTES[precision]
        one_key_a_query = attention == "eager" or (masked and attention in (None, "sdpa"))
        keys = self.query if one_key_a_query else self.key_value
        attended = size * (2 * self.query + 2 * keys)
        if attention == "eager":  # The softmax is computed in fp32, and also saved in the precision of the values.
            attended += self.heads * length * (FP32 if precision == "fp32" else FP32 + size)
        else:
            attended += FP32 * self.heads
        if self.head_norms:
            attended += (FP32 + size) * (self.query + self.key_value)
        mlp = size * self.inner_kept * self.inner
        return 2 * self.kept_by_norm(self.width, precision) + attended + mlp + self.dropout_masks * self.width

    def passing_through_mlp(self, precision: Precision) -> int:
        """Return the temporary bytes for each token while the backward pass is in the MLP of a layer."""
        return BYTES[precision] * (2 * self.inner + 2 * self.width)

    def passing_through_norm(self, precision: Precision) -> int:
        """Return the temporary bytes for each token in the backward pass of a norm. RMS norms have fp32 gradients."""
        if not self.rms_norms:
            return 2 * BYTES[precision] * self.width
        return (3 * FP32 + 2 * BYTES[precision]) * self.width


def parameter_count(model: ModelConfig) -> ParameterCount | None:
    """Return the number of parameters of a model without building it; None if it is not known.

    Raises ConfigError as `decoder_of` does.
    """
    decoder = decoder_of(model)
    if decoder is not None:
        return decoder.counted
    return None if model.parameters is None else ParameterCount(model.parameters)


def decoder_of(model: ModelConfig) -> Decoder | None:
    """Return the sizes of a model without building it; None if they are not known (`why_not_counted` says why).

    Raises ConfigError if a size is not a whole number above 0.
    """
    if why_not_counted(model) is not None:
        return None
    architecture = architecture_of(model)
    try:
        return _gpt2(architecture) if architecture["model_type"] == "gpt2" else _gated_decoder(architecture)
    except (TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"model.architecture: its sizes must be whole numbers above 0 ({error})") from None


def _gated_decoder(a: Mapping[str, Any]) -> Decoder:
    """Return the sizes of llama, mistral, qwen2 or qwen3: gated MLP, RMS norms, rotary positions, grouped queries."""
    kind, width, heads, inner = a["model_type"], a["hidden_size"], a["num_attention_heads"], a["intermediate_size"]
    key_heads = a.get("num_key_value_heads") or heads
    head = a["head_dim"] if kind == "qwen3" else a.get("head_dim") or width // heads
    query, key_value = heads * head, key_heads * head
    matrices = [width * query, width * key_value, width * key_value, query * width, *3 * [width * inner]]
    tensors = [*matrices, width, width]
    if kind == "qwen2" or (kind in ("llama", "qwen3") and a.get("attention_bias")):
        tensors += [query, key_value, key_value] + ([width] if kind != "qwen2" else [])
    if kind == "qwen3":
        tensors += [head, head]
    if kind == "llama" and a.get("mlp_bias"):
        tensors += [inner, inner, width]
    tied = bool(a.get("tie_word_embeddings", False))
    return Decoder(
        layers=a["num_hidden_layers"],
        width=width,
        heads=heads,
        query=query,
        key_value=key_value,
        inner=inner,
        inner_kept=4,  # gate, its activation, up, and their product
        rms_norms=True,
        head_norms=kind == "qwen3",
        dropout_masks=0,
        vocabulary=a["vocab_size"],
        positions=0,
        tied=tied,
        layer_tensors=tuple(tensors),
        other_tensors=(width, *(1 if tied else 2) * [a["vocab_size"] * width]),
        linear_tensors=tuple(matrices),
    )


def _gpt2(a: Mapping[str, Any]) -> Decoder:
    """Return the sizes of GPT-2: learned positions, layer norms, biases everywhere, tied embeddings."""
    width, tied = a["n_embd"], bool(a.get("tie_word_embeddings", True))
    inner = a.get("n_inner") or 4 * width
    matrices = [3 * width * width, width * width, width * inner, inner * width]
    vectors = [3 * width, width, inner, width, *4 * [width]]
    positions = a.get("n_positions", 1024)
    embeddings = [positions * width, *(1 if tied else 2) * [a["vocab_size"] * width]]
    by_operations = a.get("activation_function", "gelu_new") == "gelu_new"
    return Decoder(
        layers=a["n_layer"],
        width=width,
        heads=a.get("n_head", 12),
        query=width,
        key_value=width,
        inner=inner,
        inner_kept=5 if by_operations else 2,  # gelu_new is five operations in Python; the others are one kernel each
        rms_norms=False,
        head_norms=False,
        dropout_masks=2 if a.get("resid_pdrop", _DROPOUT) else 0,
        vocabulary=a["vocab_size"],
        positions=positions,
        tied=tied,
        layer_tensors=(*matrices, *vectors),
        other_tensors=(width, width, *embeddings),
    )
