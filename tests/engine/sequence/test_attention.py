"""The attention over whole rows: causal, within documents, one mask for all layers of a pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lrps.base.errors import ConfigError
from lrps.engine.rows import packing
from lrps.engine.sequence.attention import SequenceAttention, document_mask

END = 5


def positions() -> Tensor:
    rows = torch.tensor([[1, 2, END, 3, END, 4, 6], [END, END, 1, 2, 3, 4, 6]])
    return packing.position_ids(rows, END)


def test_the_mask_is_causal_and_within_documents() -> None:
    documents = [[0, 0, 0, 1, 1, 2, 2], [0, 1, 2, 2, 2, 2, 2]]
    expected = [[[j <= i and row[i] == row[j] for j in range(7)] for i in range(7)] for row in documents]
    assert document_mask(positions()).squeeze(1).tolist() == expected


def tensors(seed: int) -> list[Tensor]:
    """Queries of four heads, keys and values of two, over whole rows."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, heads, 7, 4, generator=generator) for heads in (4, 2, 2)]


def alone(attend, shape):
    """The exchange of one rank, which has whole rows."""
    return attend


@pytest.mark.parametrize("within_documents", [False, True])
def test_it_is_plain_attention(within_documents: bool) -> None:
    query, key, value = tensors(0)
    where = positions() if within_documents else torch.arange(7).expand(2, 7)
    found, _ = SequenceAttention(alone, within_documents)(nn.Identity(), query, key, value, position_ids=where)
    scores = query @ key.repeat_interleave(2, 1).transpose(2, 3) / 2
    scores = scores.masked_fill(~document_mask(where), -torch.inf)
    expected = (scores.softmax(-1) @ value.repeat_interleave(2, 1)).transpose(1, 2)
    torch.testing.assert_close(found, expected)


def test_the_layers_of_a_pass_share_a_mask_and_passes_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(
        "lrps.engine.sequence.attention.document_mask", lambda given: made.append(given) or document_mask(given)
    )
    attention = SequenceAttention(alone, within_documents=True)
    for where in (positions(), positions().flip(0)):
        results = [attention(nn.Identity(), *tensors(0), position_ids=where)[0] for _ in range(3)]
        assert torch.equal(results[0], results[2])
    assert len(made) == 2
    assert not torch.equal(made[0], made[1])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"position_ids": None}, "does not pass position_ids"),
        ({"sliding_window": 4}, "attends with sliding_window"),
        ({"softcap": 50.0}, "attends with softcap"),
        ({"s_aux": torch.zeros(4)}, "attends with s_aux"),
        ({"value": torch.zeros(2, 2, 7, 3)}, "keys and values of different sizes"),
    ],
)
def test_what_it_does_not_compute_is_refused(given: dict, why: str) -> None:
    query, key, value = tensors(0)
    arguments = {"query": query, "key": key, "value": value, "position_ids": positions(), **given}
    with pytest.raises(ConfigError, match=why):
        SequenceAttention(alone, within_documents=False)(nn.Identity(), **arguments)
