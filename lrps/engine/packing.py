"""Rows of packed documents: how a model is called so that its attention stays within them, and whether it does.

Documents stand one after another, each ended by the end mark; a row may begin and end in the middle of one. Pure
functions of the rows. Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NOT_PREDICTED = -100
"""The label that transformers leaves out of a loss."""


def position_ids(rows: Tensor, end: int) -> Tensor:
    """Positions of the tokens of rows (rows, length) in their documents: from 0 in every row and after every `end`."""
    places = torch.arange(rows.shape[1], device=rows.device).expand_as(rows)
    begins = torch.zeros_like(places)
    begins[:, 1:] = torch.where(rows[:, :-1] == end, places[:, 1:], 0)
    return places - begins.cummax(dim=1).values


def cu_seqlens(positions: Tensor) -> Tensor:
    """Where each document of the flattened rows begins, and where the last one ends: int32 (documents + 1,).

    A kernel that takes them attends within documents and, as every row begins a document, within rows.
    """
    begins = (positions.flatten() == 0).nonzero().flatten()
    return nn.functional.pad(begins, (0, 1), value=positions.numel()).int()


def inputs(rows: Tensor, end: int, flat: bool) -> dict[str, Any]:
    """What a transformers model is called with so that attention stays within documents.

    flat: for kernels that take cu_seqlens, which want all rows as one, (1, rows * length). The other kernels get a
    block-diagonal mask, which transformers derives where position ids begin anew and neither a mask nor a cache is
    given.
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


def labels(rows: Tensor, flat: bool) -> Tensor:
    """Labels that fit `inputs`: every token of a row but its first one is predicted, however the rows lie."""
    if not flat:
        return rows
    predicted = rows.clone()
    predicted[:, 0] = NOT_PREDICTED  # Else the end of one row would predict the beginning of the next.
    return predicted.reshape(1, -1)


def documents_meet(logits: Callable[[Tensor], Tensor], end: int) -> bool:
    """Whether a token changes the logits of the next document of its row; found out by trying.

    logits: token ids (rows, length) -> (rows, length, vocabulary), without dropout. There is no other way to know:
    models take position ids and let documents meet all the same, as opt does, and everything recurrent. It depends on
    the version, too: falcon keeps documents apart from transformers 5.24 on.
    """
    one, two, three, four = [token for token in range(5) if token != end][:4]
    rows = torch.tensor([[one, end, two, three], [one, two, three, four]])
    other_document, other_row = rows.clone(), rows.clone()
    other_document[0, 0] = four
    other_row[1] = rows[1].flip(0)
    next_document, changed, recomputed = (logits(case)[0, 2:].float() for case in (rows, other_document, other_row))
    # Rows never meet, so what another row changes is rounding: none, unless experts are given other tokens at a time.
    rounding = (recomputed - next_document).abs().max()
    return bool((changed - next_document).abs().max() > 10 * rounding)
