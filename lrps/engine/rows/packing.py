"""Attention within the documents of packed rows: the inputs of a model for it, and a test whether it works.

Documents follow one another, each ended by an EOS token; a row may begin and end in the middle of one. Pure functions
of the rows. Must not import deepspeed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrps.data.outputs import MASKED, targets_of

NOT_PREDICTED = -100
"""Label that transformers excludes from the loss."""


def position_ids(rows: Tensor, end: int) -> Tensor:
    """Return positions (rows, length) of tokens in their documents: from 0 in every row and after every `end`."""
    places = torch.arange(rows.shape[1], device=rows.device).expand_as(rows)
    begins = torch.zeros_like(places)
    begins[:, 1:] = torch.where(rows[:, :-1] == end, places[:, 1:], 0)
    return places - begins.cummax(dim=1).values


def cu_seqlens(positions: Tensor) -> Tensor:
    """Return the offset of each document in the flattened rows, and the end of the last: int32 (documents + 1,).

    A kernel that takes them limits attention to documents and, as every row begins a document, to rows.
    """
    begins = (positions.flatten() == 0).nonzero().flatten()
    return nn.functional.pad(begins, (0, 1), value=positions.numel()).int()


def inputs(rows: Tensor, end: int, flat: bool) -> dict[str, Any]:
    """Return the arguments of a transformers model that limit attention to documents.

    flat: for kernels that take cu_seqlens, which need all rows as one, (1, rows * length). For other kernels
    transformers derives a block-diagonal mask from position ids that restart at 0, if no mask and no cache is given.
    """
    positions = position_ids(rows, end)
    if not flat:
        return {"input_ids": rows, "position_ids": positions}
    bounds, longest = cu_seqlens(positions), int(positions.max()) + 1
    return {
        "input_ids": rows.reshape(1, -1),
        "position_ids": positions.reshape(1, -1),
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def tokens_of(rows: Tensor) -> Tensor:
    """Return the tokens of rows, in which those that are no targets are complements (lrps/data/outputs.py)."""
    return torch.where(rows < 0, ~rows, rows)


def labels(rows: Tensor, flat: bool) -> Tensor:
    """Return labels for `inputs`: every target of a row except its first token, flat or not.

    rows: tokens, those that are no targets as complements.
    """
    predicted = rows.masked_fill(rows < 0, NOT_PREDICTED)
    if not flat:
        return predicted
    predicted[:, 0] = NOT_PREDICTED  # Otherwise the end of one row would predict the beginning of the next.
    return predicted.reshape(1, -1)


def targets_each(rows: np.ndarray, sum_over_ranks: Callable[[list[float]], list[float]], batches: int) -> float | None:
    """Return the number of targets of a step, divided by its micro-batches on all ranks; None for rows without a mask.

    A micro-batch's sum of losses is divided by it, so that the mean over micro-batches and ranks, which DeepSpeed
    takes, is the mean over all targets. Collective for masked rows. rows: this rank's. batches: number of micro-batches
    on all ranks.
    """
    if rows.dtype != MASKED:
        return None
    (targets,) = sum_over_ranks([float(targets_of(rows).sum())])
    return max(targets, 1.0) / batches


def documents_meet(logits: Callable[[Tensor], Tensor], end: int) -> bool:
    """Return True if a token changes the logits of the next document of its row, found by running the model.

    logits: token ids (rows, length) -> (rows, length, vocabulary), without dropout. Accepting position ids is not
    enough: opt and all recurrent models do, and attend across documents all the same. It also depends on the version:
    falcon limits attention to documents from transformers 5.24 on. Raises FloatingPointError if logits are not finite,
    which show nothing.
    """
    one, two, three, four = [token for token in range(5) if token != end][:4]
    rows = torch.tensor([[one, end, two, three], [one, two, three, four]])
    other_document, other_row = rows.clone(), rows.clone()
    other_document[0, 0] = four
    other_row[1] = rows[1].flip(0)
    next_document, changed, recomputed = (logits(case)[0, 2:].float() for case in (rows, other_document, other_row))
    if not all(bool(each.isfinite().all()) for each in (next_document, changed, recomputed)):
        raise FloatingPointError("logits are not finite")
    # Rows are independent, so a change by another row is rounding: none, unless experts get other batches of tokens.
    rounding = (recomputed - next_document).abs().max()
    return bool((changed - next_document).abs().max() > 10 * rounding)


def documents_fault(model: Any, logits: Callable[[Tensor], Tensor], end: int) -> str | None:
    """Return why a model cannot limit attention to documents, with how to fix it; None if it can.

    logits: as for `documents_meet`, called without gradients and in the state in which the model is examined.
    """
    kind = f"data.attention_across_documents: a {model.config.model_type} model"
    why = None
    if "position_ids" not in inspect.signature(model.forward).parameters:
        why = "takes no position_ids"
    else:
        try:
            why = "lets one document change the next one" if documents_meet(logits, end) else None
        except FloatingPointError as error:
            fix = "use sound weights, or another `initializer_range`"
            return f"{kind} cannot be tried: its {error} on a few tokens; {fix}"
    if why is None:
        return None
    return (
        f"{kind} {why}; leave the key out, or take another model: llama, mistral, qwen2, qwen3 and gpt2 keep documents "
        "apart"
    )


def takes_cu_seqlens(model: nn.Module) -> bool:
    """Return True if the attention of a model takes the lengths of documents instead of a mask."""
    from transformers.utils.generic import is_flash_attention_requested

    return bool(is_flash_attention_requested(model.config))
