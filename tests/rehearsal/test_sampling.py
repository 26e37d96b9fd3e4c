"""The next token: penalty, temperature and nucleus against plain definitions and transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.rehearsal import sampling as sampling_module
from lrps.rehearsal.sampling import PenaltyScope, Sampling, TokenSampler, penalize, sample_nucleus

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
    expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens, scores.clone())
    torch.testing.assert_close(penalize(scores, tokens, penalty), expected)


def reference(scores: list[float], before: list[int], sampling: Sampling, draw: float) -> set[int]:
    """The tokens that the definition allows for a draw, one unless the draw is at an edge between two."""
    penalty = sampling.repetition_penalty
    penalized = list(scores)
    for token in set(before):
        penalized[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
    if sampling.temperature == 0:
        return {penalized.index(max(penalized))}
    allowed, below = set(), 0.0
    for token, chance in nucleus([score / sampling.temperature for score in penalized], sampling.top_p).items():
        if below - 1e-6 <= draw <= below + chance + 1e-6:
            allowed.add(token)
        below += chance
    return allowed


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=4), SCORES.filter(lambda s: len(s) == 6)),
             min_size=1, max_size=3),
    st.lists(st.integers(0, 5), max_size=3),
    st.sampled_from(["completion", "all"]),
    st.sampled_from([0.0, 0.9]),
    st.sampled_from([1.0, 1.2, 7.0]),
)  # fmt: skip
def test_a_step_is_that_of_a_slow_reference(
    rows: list[tuple[list[int], list[float]]], written: list[int], scope: PenaltyScope, temperature: float, by: float
) -> None:
    """Padding is never penalized, the prompt only if it is asked for, the completion always."""
    sampling = Sampling(9, temperature, 0.6, by, scope)
    width = max(len(prompt) for prompt, _ in rows)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt, _ in rows])
    tokens = torch.tensor([[5] * (width - len(prompt)) + prompt + written for prompt, _ in rows])
    scores = torch.tensor([scores for _, scores in rows])
    seeds = range(len(rows))
    found = TokenSampler(sampling, seeds, 9).processor(mask)(tokens, scores).argmax(-1).tolist()
    for seed, token, (prompt, row) in zip(seeds, found, rows, strict=True):
        draw = np.random.default_rng(seed).random(9)[len(written)]
        assert token in reference(row, [*(prompt if scope == "all" else []), *written], sampling, draw)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(-6, 6).map(float), min_size=40, max_size=40), min_size=1, max_size=4),
    st.sampled_from([0.05, 0.35, 0.62, 0.97, 1.0]),
    st.integers(0, 2**32 - 1),
)
def test_sorting_the_likeliest_first_changes_no_token(rows: list[list[float]], top_p: float, seed: int) -> None:
    """Also where tokens that are as likely as the last of them are left out."""
    scores, draws = torch.tensor(rows), torch.from_numpy(np.random.default_rng(seed).random(len(rows)))
    with pytest.MonkeyPatch.context() as patch:
        whole = sample_nucleus(scores, top_p, draws)
        patch.setattr(sampling_module, "LIKELIEST", 4)
        assert sample_nucleus(scores, top_p, draws).tolist() == whole.tolist()


def test_what_older_releases_did_has_the_identity_that_they_gave_it() -> None:
    before = {"max_new_tokens": 9, "temperature": 0.9, "top_p": 0.6, "repetition_penalty": 1.2}
    assert Sampling(9, 0.9, 0.6, 1.2, "all").identity == before
    assert Sampling(9, 0.9, 0.6, 1.2).identity == {**before, "penalty_on": "completion"}
    assert Sampling(9, 0.9, 0.6, 1.0).identity == {**before, "repetition_penalty": 1.0}
    assert Sampling(9, stop=("Input:",)).identity["stop"] == ["Input:"]


def test_a_row_draws_from_its_own_seed() -> None:
    scores, none = torch.zeros(3, 50), torch.zeros(3, 0, dtype=torch.long)
    sampling = Sampling(20, temperature=1.0)
    together, alone = TokenSampler(sampling, [5, 6, 5], 20), TokenSampler(sampling, [6], 20)
    rows = torch.stack([together(step, none, scores) for step in range(20)], 1)
    assert rows[0].tolist() == rows[2].tolist() != rows[1].tolist()
    assert [int(alone(step, none[:1], scores[:1])) for step in range(20)] == rows[1].tolist()


@pytest.mark.parametrize(
    "wrong",
    [{"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"repetition_penalty": 0.0},
     {"stop": ("",)}],
)  # fmt: skip
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not a valid sampling"):
        Sampling(**{"max_new_tokens": 1, **wrong})
