"""The next token: penalty, temperature and nucleus against plain definitions and transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.rehearsal.sampling import Sampling, TokenSampler, penalize, sample_nucleus

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=8)


def nucleus(scores: list[float], top_p: float) -> dict[int, float]:
    """Token -> chance, by the definition."""
    weights = np.exp(np.array(scores) - max(scores))
    chances = weights / weights.sum()
    order = sorted(range(len(scores)), key=lambda token: (-chances[token], token))
    kept: dict[int, float] = {}
    for token in order:
        if sum(kept.values()) >= top_p:
            break
        kept[token] = chances[token]
    return {token: chance / sum(kept.values()) for token, chance in kept.items()}


@settings(deadline=None)
@given(SCORES, st.sampled_from([0.05, 0.35, 0.62, 0.97, 1.0]), st.floats(0, 1, exclude_max=True))
def test_a_draw_falls_on_the_token_that_holds_it(scores: list[float], top_p: float, draw: float) -> None:
    chances, below = nucleus(scores, top_p), 0.0
    (token,) = sample_nucleus(torch.tensor([scores]), top_p, torch.tensor([draw], dtype=torch.float64)).tolist()
    for candidate, chance in chances.items():
        if candidate == token:
            assert below - 1e-9 <= draw <= below + chance + 1e-9
            return
        below += chance
    pytest.fail(f"{token} is not in the nucleus {chances}")


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.1, {0}), (0.25, {0}), (0.26, {0, 1}), (0.5, {0, 1}), (0.76, {0, 1, 2, 3})]
)
def test_the_nucleus_is_the_smallest(top_p: float, kept: set[int]) -> None:
    """Four tokens of a quarter each."""
    draws = torch.linspace(0, 0.999, 50, dtype=torch.float64)
    assert set(sample_nucleus(torch.zeros(50, 4), top_p, draws).tolist()) == kept


def test_tokens_come_as_often_as_they_should() -> None:
    scores, draws = torch.tensor([2.0, 1.0, 0.0]), torch.from_numpy(np.random.default_rng(0).random(20_000))
    tokens = sample_nucleus(scores.expand(20_000, 3), 1.0, draws)
    found = torch.bincount(tokens, minlength=3) / 20_000
    torch.testing.assert_close(found, torch.softmax(scores, -1), atol=0.01, rtol=0)


@settings(deadline=None)
@given(st.lists(SCORES, min_size=1, max_size=3), st.sampled_from([0.5, 1.2, 3.0]), st.data())
def test_the_penalty_is_that_of_transformers(rows: list[list[float]], penalty: float, data: st.DataObject) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    width = min(map(len, rows))
    scores = torch.tensor([row[:width] for row in rows])
    tokens = torch.tensor([data.draw(st.lists(st.integers(0, width - 1), min_size=2, max_size=2)) for _ in rows])
    seen = torch.zeros(scores.shape, dtype=torch.bool).scatter(1, tokens, torch.ones_like(tokens, dtype=torch.bool))
    expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens, scores.clone())
    torch.testing.assert_close(penalize(scores, seen, penalty), expected)


def test_padding_is_not_penalized() -> None:
    """Token 0 pads the first prompt; it is as likely there as if the prompt stood alone."""
    mask = torch.tensor([[0, 1], [1, 1]])
    process = TokenSampler(Sampling(1, repetition_penalty=100.0), [0, 0], 1).processor(mask)
    chosen = process(torch.tensor([[0, 1], [0, 1]]), torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])).argmax(-1)
    assert chosen.tolist() == [0, 2]


def test_a_row_draws_from_its_own_seed() -> None:
    scores, seen = torch.zeros(3, 50), torch.zeros(3, 50, dtype=torch.bool)
    sampling = Sampling(20, temperature=1.0)
    together, alone = TokenSampler(sampling, [5, 6, 5], 20), TokenSampler(sampling, [6], 20)
    rows = torch.stack([together(step, seen, scores) for step in range(20)], 1)
    assert rows[0].tolist() == rows[2].tolist() != rows[1].tolist()
    assert [int(alone(step, seen[:1], scores[:1])) for step in range(20)] == rows[1].tolist()


@pytest.mark.parametrize(
    "wrong", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"repetition_penalty": 0.0}]
)
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="is not a valid sampling"):
        Sampling(**{"max_new_tokens": 1, **wrong})  # type: ignore[arg-type]
