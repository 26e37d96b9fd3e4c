"""Attention over whole rows whose tokens are divided among ranks (Ulysses), within documents on request.

DeepSpeed's UlyssesSPAttentionHF exchanges tokens for heads, so that each rank attends with some heads over whole rows.
It drops the mask of transformers: the attention below makes its own, from the positions of the whole rows. Must not
import deepspeed. Imports transformers when an attention is installed, because that takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lrps.base.errors import ConfigError

NAME = "lrps_sequence_parallel"
"""Name under which the attention of one engine is registered in transformers. No kernel of transformers is replaced, so
that other models of the process keep theirs."""
_CHANGING = ("sliding_window", "softcap", "s_aux")
"""Arguments of transformers' attention functions that change the result and that no code here reads."""

Attention = Callable[..., tuple[Tensor, None]]
Exchange = Callable[[Attention, int], Attention]
"""Function from an attention over whole rows, and the number of rows of a call, to one over parts of rows."""


def document_mask(positions: Tensor) -> Tensor:
    """Return which tokens attend to which: causal, within documents; bool (rows, 1, length, length).

    positions: (rows, length), 0 at the beginning of each document.
    """
    document = (positions == 0).cumsum(1)
    same = document[:, None, :, None] == document[:, None, None, :]
    return same.tril_()


class SequenceAttention:
    """The attention function of one model whose rows are divided among ranks. Collective in the group of a row.

    It takes any number of rows, for which DeepSpeed's class is made once each: training, evaluation and trials differ.
    """

    def __init__(self, exchange: Exchange, within_documents: bool) -> None:
        self._exchange, self._within_documents = exchange, within_documents
        self._of_rows: dict[int, Attention] = {}
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
        asked = [name for name in _CHANGING if more.get(name) is not None]
        if position_ids is None or asked:
            why = f"attends with {asked[0]}" if asked else "does not pass position_ids to its attention"
            raise ConfigError(f"engine.sequence_parallel: the model {why}; leave the key out, or take another model")
        if position_ids is not self._positions:  # The layers of a forward pass share one tensor, and so one mask.
            self._positions, self._mask = position_ids, None
        rows = len(query)
        if rows not in self._of_rows:
            self._of_rows[rows] = self._exchange(self._attend, rows)
        return self._of_rows[rows](module, query, key, value, None, position_ids=position_ids, **more)

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
        shared = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, self._mask, dropout_p=dropout, is_causal=self._mask is None, scale=scaling
        )
        return attended.transpose(1, 2).contiguous(), None


def exchange_of(ulysses: Callable[..., Attention], sizes: Any, group: Any) -> Exchange:
    """Return the exchange of tokens for heads in a group of ranks.

    ulysses: DeepSpeed's UlyssesSPAttentionHF. sizes: transformers' config of the decoder.
    """
    heads = sizes.num_attention_heads
    head_size = getattr(sizes, "head_dim", None) or sizes.hidden_size // heads
    shape = (heads, head_size, sizes.num_key_value_heads, sizes.num_hidden_layers)
    return lambda attend, rows: ulysses(attend, rows, *shape, group, seq_length_is_variable=True)


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
