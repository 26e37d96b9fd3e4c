"""Models whose rows can be divided among ranks: full causal attention and nothing else may mix tokens.

Must not import deepspeed. Imports transformers when a model is tried, because that takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.engine.examination import Demands, Trial, Verdict, make_trial
from lrps.engine.rows import packing
from lrps.engine.sequence.attention import Attention, SequenceAttention, install, uninstall

END = 0
"""Token that ends documents in trials."""
_LIMITS = ("sliding_window", "attention_chunk_size", "attn_logit_softcapping")
"""Keys of transformers' configs that make attention something else than full and causal."""
_VISIBLE = 1e-3
"""Share of the largest logit below which a difference is rounding."""
_TOKENS = 8
"""Number of tokens of each part in trials."""


def check_support(config: Config, model: Any) -> None:
    """Check that the rows of a model can be divided as a config says. Not collective.

    model: transformers' config of it, which is not changed. Raises ConfigError with the reason.
    """
    why = next(_reasons(model.get_text_config(), config.engine.sequence_parallel), None)
    if why is None and outside_of_attention(trial_of(config, model), config):
        why = "mixes tokens outside of its attention, or attends in a way of its own"
    if why is not None:
        raise ConfigError(
            f"engine.sequence_parallel: a {model.model_type} model {why}; leave the key out, or take a model with full "
            "causal attention, such as llama, qwen2 or qwen3"
        )


def _reasons(sizes: Any, parts: int) -> Iterator[str]:
    """Yield why attention cannot be divided. sizes: transformers' config of the decoder."""
    names = ("num_attention_heads", "num_key_value_heads")
    if absent := [name for name in names if not isinstance(getattr(sizes, name, None), int)]:
        yield f"has no {absent[0]}, by which its heads would be divided"
        return
    heads, of_keys = (int(getattr(sizes, name)) for name in names)
    if heads % parts:
        yield f"has {heads} attention heads, which {parts} processes cannot divide"
    if of_keys % parts and parts % of_keys:
        yield f"has {of_keys} key-value heads, which {parts} processes can neither divide nor repeat equally"
    for kind in dict.fromkeys(getattr(sizes, "layer_types", None) or ()):
        if kind != "full_attention":
            yield f"has layers of {kind}"
    for key in _LIMITS:
        if getattr(sizes, key, None):
            window = " (null is full attention)" if key == "sliding_window" else ""
            yield f"has {key} {getattr(sizes, key)}{window}"
    if getattr(sizes, "output_router_logits", False):
        yield "adds a loss of its experts (output_router_logits), which is no sum over tokens"


def trial_of(config: Config, model: Any) -> Trial:
    """Return a small copy of a model; it and its random weights are the same on all ranks. Raises ConfigError."""
    found = make_trial(model, Demands(_length(config)), _has_whole_heads)
    if isinstance(found, Verdict):
        why = next(iter((*found.faults, *found.notes)))
        raise ConfigError(f"engine.sequence_parallel: cannot be tried: {why}; leave the key out, or take another model")
    return found


def _length(config: Config) -> int:
    return min(config.data.sequence_length, _TOKENS * config.engine.sequence_parallel)


def _has_whole_heads(model: Any) -> bool:
    """Return True if rotary positions, which take pairs of elements, fit into the heads of a small copy."""
    sizes = model.get_text_config()
    return bool((getattr(sizes, "head_dim", None) or sizes.hidden_size // sizes.num_attention_heads) % 2 == 0)


def trial_rows(config: Config, trial: Trial, number: int) -> tuple[Tensor, int | None]:
    """Return rows for a trial, each of several documents, and their EOS token if these are to be kept apart."""
    vocabulary = trial.model.config.get_text_config().vocab_size
    rows = torch.randint(1, vocabulary, (number, _length(config)), generator=torch.Generator().manual_seed(0))
    rows[:, 2::5] = END
    return rows, None if config.data.attention_across_documents else END


def whole_inputs(rows: Tensor, document_end: int | None) -> dict[str, Tensor]:
    """Return the arguments of a transformers model for whole rows, with positions."""
    if document_end is not None:
        return packing.inputs(rows, document_end, flat=False)
    return {"input_ids": rows, "position_ids": torch.arange(rows.shape[1]).expand_as(rows)}


def outside_of_attention(trial: Trial, config: Config) -> bool:
    """Return True if the logits of rows whose parts meet in attention only are not those of whole rows.

    One process takes all parts, as rows of a batch. The model of the trial is changed. Raises ConfigError if it does
    not pass its positions to its attention.
    """
    parts = config.engine.sequence_parallel
    rows, end = trial_rows(config, trial, 2)
    inputs = whole_inputs(rows, end)
    expected = _logits(trial, inputs)
    install(trial.model, SequenceAttention(lambda attend, _: _meeting(attend, parts), end is not None))
    try:
        cut = {name: values.reshape(len(rows) * parts, -1) for name, values in inputs.items()}
        found = _logits(trial, cut).reshape(expected.shape)
    finally:
        uninstall()
    return bool((found - expected).abs().max() > _VISIBLE * expected.abs().max())


def _logits(trial: Trial, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        logits: Tensor = trial.run(**inputs).logits
    return logits.float()


def _meeting(attend: Attention, parts: int) -> Attention:
    """Return an attention over parts of rows, all in one batch, from one over whole rows."""

    def attended(module: Any, *tensors: Any, position_ids: Tensor, **more: Any) -> tuple[Tensor, None]:
        query, key, value = (each.unflatten(0, (-1, parts)).transpose(1, 2).flatten(2, 3) for each in tensors[:3])
        positions = position_ids.reshape(len(query), -1)
        out, _ = attend(module, query, key, value, None, position_ids=positions, **more)
        return out.unflatten(1, (parts, -1)).flatten(0, 1), None

    return attended
