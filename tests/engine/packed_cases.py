"""Tiny models and rows of packed documents, and what attention within documents means: each document by itself."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from lrps.engine.rows import packing

END = 5
_SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.2, "pad_token_id": None,
    "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
ARCHITECTURES = {
    "llama": {"model_type": "llama", **_SIZES},
    "mistral": {"model_type": "mistral", **_SIZES},
    "mistral with a window": {"model_type": "mistral", **_SIZES, "sliding_window": 3},
    "qwen2": {"model_type": "qwen2", **_SIZES},
    "qwen3": {"model_type": "qwen3", **_SIZES, "head_dim": 8},
    "gpt2": {
        "model_type": "gpt2", "vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64,
        "initializer_range": 0.2, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": None,
        "eos_token_id": None,
    },
}  # fmt: skip

_WIDE = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
DEPENDING = {
    "falcon": {"model_type": "falcon", **_WIDE},
    "mamba": {"model_type": "mamba", "vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2},
    "opt": {"model_type": "opt", **_WIDE, "ffn_dim": 48, "word_embed_proj_dim": 32},
}  # fmt: skip
"""Models whose version of transformers decides whether they take position ids and keep documents apart."""


def packed_rows(seed: int, rows: int, length: int) -> torch.Tensor:
    """Rows in which documents are cut off at the ends, follow each other at once, or fill a row."""
    drawn = torch.randint(0, 97, (rows, length), generator=torch.Generator().manual_seed(seed))
    drawn[drawn == END] = END + 1
    drawn[:, 4::5] = END
    drawn[0, 5] = drawn[0, 0] = END  # Documents of the end mark alone.
    drawn[-1, :-1][drawn[-1, :-1] == END] = END + 1  # One document that fills the row.
    return drawn


def documents(row: torch.Tensor) -> list[torch.Tensor]:
    found, begin = [], 0
    for place, token in enumerate(row.tolist()):
        if token == END or place == len(row) - 1:
            found.append(row[begin : place + 1])
            begin = place + 1
    return found


def logits_alone(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """The logits (rows, length, vocabulary) of every document in a forward pass of its own."""
    return torch.stack(
        [torch.cat([model(input_ids=document[None]).logits[0] for document in documents(row)]) for row in rows]
    )


def documents_differ(model: nn.Module) -> bool:
    """Whether documents in packed rows get other logits than alone, in this version of transformers."""
    rows = packed_rows(0, rows=3, length=23)
    with torch.no_grad():
        alone = logits_alone(model, rows)
        packed = model(**packing.inputs(rows, END, flat=False)).logits
    # Rounding is below 1e-6 of the largest logit, what another document changes above 1e-2.
    return bool((packed - alone).abs().max() > 1e-4 * alone.abs().max())


def loss_alone(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Mean over all tokens of the rows but each row's first, the first ones of documents included."""
    return nn.functional.cross_entropy(logits_alone(model, rows)[:, :-1].flatten(0, 1), rows[:, 1:].flatten())


def with_reference_flash(model: nn.Module) -> nn.Module:
    """The model on transformers' own flash_attention_2 path, whose varlen kernel is the plain torch one below."""
    from transformers import modeling_flash_attention_utils as flash
    from transformers.integrations import flash_attention

    # The kernels refuse fp32, so transformers looks for a Linear layer to cast to, which gpt2 has none of.
    flash_attention.get_target_dtype = lambda query, module: None
    flash._lazy_imports = lambda *wanted, **options: (None, _varlen_kernel, None, None, None)
    flash.lazy_import_flash_attention("flash_attention_2")
    model.config._attn_implementation = "flash_attention_2"
    return model


def _varlen_kernel(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None, causal=False,
    window_size=(-1, -1),
):  # fmt: skip
    """flash_attn.flash_attn_varlen_func: (tokens, heads, head) each, of all documents one after another."""
    assert causal
    assert cu_seqlens_q.dtype == torch.int32
    assert torch.equal(cu_seqlens_q, cu_seqlens_k)
    bounds = cu_seqlens_q.tolist()
    assert (bounds[0], bounds[-1]) == (0, len(q))
    spans = list(itertools.pairwise(bounds))
    assert max_seqlen_q == max_seqlen_k == max(b - a for a, b in spans)
    attended = []
    for span in (slice(a, b) for a, b in spans):
        query, key, value = (x[span].transpose(0, 1)[None] for x in (q, k, v))
        mask = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool).tril()
        if window_size[0] >= 0:
            mask = mask.triu(-window_size[0])
        found = nn.functional.scaled_dot_product_attention(
            query, key, value, mask, dropout_p=dropout_p, scale=softmax_scale, enable_gqa=True
        )
        attended.append(found[0].transpose(0, 1))
    return torch.cat(attended)
