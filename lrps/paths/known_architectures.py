"""The keys of the model types whose sizes lrps counts without transformers, and why a model cannot be counted.

A key that is not known, or a size that is missing, makes costs n/a: transformers would fill it with a default of its
own, and a guess here would be a wrong cost. Imports no torch and no transformers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from lrps.config.model_directory import read_model_config
from lrps.config.models import ModelConfig

_COMMON = {
    "_name_or_path", "architectures", "bos_token_id", "chunk_size_feed_forward", "dtype", "eos_token_id", "id2label",
    "initializer_range", "is_encoder_decoder", "label2id", "model_type", "output_attentions", "output_hidden_states",
    "pad_token_id", "problem_type", "return_dict", "tie_word_embeddings", "transformers_version", "use_cache",
    "vocab_size",
}  # fmt: skip
_GATED = _COMMON | {
    "attention_dropout", "hidden_act", "hidden_size", "intermediate_size", "max_position_embeddings",
    "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "rope_parameters",
    "rope_scaling", "rope_theta",
}  # fmt: skip
_WINDOW = {"layer_types", "max_window_layers", "sliding_window", "use_sliding_window"}
KEYS: Mapping[str, set[str]] = {
    "llama": _GATED | {"attention_bias", "head_dim", "mlp_bias", "pretraining_tp"},
    "mistral": _GATED | {"head_dim", "sliding_window"},
    "qwen2": _GATED | _WINDOW,
    "qwen3": _GATED | _WINDOW | {"attention_bias", "head_dim"},
    "gpt2": _COMMON | {
        "activation_function", "add_cross_attention", "attn_pdrop", "embd_pdrop", "layer_norm_epsilon", "n_embd",
        "n_head", "n_inner", "n_layer", "n_positions", "reorder_and_upcast_attn", "resid_pdrop",
        "scale_attn_by_inverse_layer_idx", "scale_attn_weights", "summary_activation", "summary_first_dropout",
        "summary_proj_to_labels", "summary_type", "summary_use_proj",
    },
}  # fmt: skip
"""Model type -> the keys of its config in transformers."""
_ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
"""Keys that transformers accepts for GPT-2 in place of its own."""
_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "llama": _SIZES,
    "mistral": (*_SIZES, "num_key_value_heads"),
    "qwen2": (*_SIZES, "num_key_value_heads"),
    "qwen3": (*_SIZES, "num_key_value_heads", "head_dim"),
    "gpt2": ("vocab_size", "n_embd", "n_layer"),
}
"""Model type -> the sizes without which it is not counted, since transformers has a number of its own for them."""


def architecture_of(model: ModelConfig) -> dict[str, Any]:
    """Return the fields of a model's Hugging Face config, from the config or from its checkpoint directory.

    GPT-2 has its own names for sizes in it. Raises ConfigError if the directory has no config.json that can be read.
    """
    fields = read_model_config(model.checkpoint) if model.checkpoint is not None else model.architecture or {}
    aliases = _ALIASES if fields.get("model_type") == "gpt2" else {}
    return {aliases.get(key, key): value for key, value in fields.items()}


def why_not_counted(model: ModelConfig) -> str | None:
    """Return why the sizes of a model are not known without building it, and what to do; None if they are known.

    Raises ConfigError as `architecture_of` does.
    """
    fields = architecture_of(model)
    where = "model.architecture" if model.checkpoint is None else f"{model.checkpoint}/config.json"
    kind = str(fields.get("model_type"))
    if kind not in KEYS:
        near = _nearest(kind, KEYS, likeness=0.8)  # mamba is not llama.
        fix = "set model.parameters, their number, to plan with 6 FLOPs per parameter and token"
        return f"the sizes of model type {kind!r} are not known here{near}; {fix}"
    if model.checkpoint is None:  # A config.json of others may have keys that no class knows.
        for key in fields:
            if key not in KEYS[kind]:
                return f"{where}.{key}: a {kind} model has no such key{_nearest(key, KEYS[kind])}"
    missing = [key for key in REQUIRED[kind] if key not in fields]
    return f"{where} lacks {', '.join(missing)}; give it" if missing else None


def _nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    close = get_close_matches(word, list(known), n=1, cutoff=likeness)
    return f"; did you mean {close[0]!r}?" if close else ""
