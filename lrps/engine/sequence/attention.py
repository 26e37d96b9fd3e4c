"""Attention over whole rows whose tokens are divided among ranks (Ulysses), within documents on request.

DeepSpeed's UlyssesSPAttentionHF exchanges tokens for heads, so that each rank attends with some heads over whole rows.
It drops the mask of transformers: the attention below makes its own, from the positions of the whole rows. Must not
import deepspeed. Imports transformers when an attention is installed, because that takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from lrps.base.errors import ConfigError

NAME = "lrps_sequence_parallel"
"""Name under which the attention of one engine is registered in transformers. No kernel of transformers is replaced, so
that other models of the process keep theirs."""
_CHANGING = ("sliding_window", "softcap", "s_aux")
"""Arguments of transformers' attention functions that change the result and that no code here reads."""

Attention = Callable[..., tuple[Tensor, None]]
Exchange = Callable[[Attention, "Shape"], Attention]
"""Function from an attention over whole rows, and the shape of its calls, to one over parts of rows."""


class Shape(NamedTuple):
    """Sizes of the tensors of an attention that are equal in all of its calls, unlike the length of the rows."""

    rows: int
    heads: int
    head_size: int
    key_value_heads: int


def document_mask(positions: Tensor) -> Tensor:
    """Return which tokens attend to which: causal, within documents; bool (rows, 1, length, length).

    positions: (rows, length), 0 at the beginning of each document.
    """
    document = (positions == 0).cumsum(1)
    same = document[:, None, :, None] == document[:, None, None, :]
    return same.tril_()


class SequenceAttention:
    """The attention function of one model whose rows are divided among ranks. Collective in the group of a row.

    It takes any number of rows, though DeepSpeed's class fixes it: training, evaluation and trials have one of it each.
    """

    def __init__(self, exchange: Exchange, within_documents: bool) -> None:
        self._exchange, self._within_documents = exchange, within_documents
        self._exchanging: dict[Shape, Attention] = {}
        self._positions: Tensor | None = None
        self._mask: Tensor | None = None

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **more: Any,
    ) -> tuple[Tensor, None]:
        """Return the attention of this rank's tokens (rows, part, heads * head). Arguments are those of transformers.

        position_ids: (rows, part), positions in documents or in rows. Raises ConfigError for a model that passes none,
        or that asks for more than causal attention.
        """
        del attention_mask  # Of this rank's tokens alone, if there is one.
        if (why := _fault(key, value, position_ids, more)) is not None:
            raise ConfigError(f"engine.sequence_parallel: the model {why}; leave the key out, or take another model")
        if position_ids is not self._positions:  # The layers of a forward pass share one tensor, and so one mask.
            self._positions, self._mask = position_ids, None
        shape = Shape(len(query), query.shape[1], query.shape[3], key.shape[1])
        if shape not in self._exchanging:
            self._exchanging[shape] = self._exchange(self._attend, shape)
        return self._exchanging[shape](module, query, key, value, None, position_ids=position_ids, **more)

    def _attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: None,
        *,
        position_ids: Tensor,
        scaling: float | None = None,
        dropout: float = 0.0,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """Return the attention over whole rows with this rank's heads: (rows, length, heads, head).

        query, key, value: (rows, heads, length, head). position_ids: (rows, length).
        """
        del module, attention_mask
        if self._within_documents and self._mask is None:
            self._mask = document_mask(position_ids)
        causal, shared = self._mask is None, query.shape[1] // key.shape[1]
        if not causal:  # With a mask, few kernels of torch share keys among heads.
            key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, self._mask, dropout, causal, scale=scaling, enable_gqa=causal and shared > 1
        )
        return attended.transpose(1, 2).contiguous(), None


def _fault(key: Tensor, value: Tensor, position_ids: Tensor | None, more: Mapping[str, Any]) -> str | None:
    """Return why an attention that is called with these arguments cannot be exchanged; None if it can."""
    if position_ids is None:
        return "does not pass position_ids to its attention"
    if key.shape != value.shape:
        return "has keys and values of different sizes"
    asked = next((name for name in _CHANGING if more.get(name) is not None), None)
    return None if asked is None else f"attends with {asked}"


def install(model: Any, attention: SequenceAttention) -> None:
    """Let a model attend by a function. Raises ConfigError if its attention is fixed."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS[NAME] = attention
    model.set_attn_implementation(NAME)
    if model.config.get_text_config()._attn_implementation != NAME:
        uninstall()
        raise ConfigError(
            f"engine.sequence_parallel: a {model.config.model_type} model has a fixed attention; leave the key out, or "
            "take another model, such as llama"
        )


def uninstall() -> None:
    """Remove the function of `install` from transformers; idempotent."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if NAME in ALL_ATTENTION_FUNCTIONS:
        del ALL_ATTENTION_FUNCTIONS[NAME]
