"""Sampling of the next token for each prompt of a batch, with random numbers per prompt.

Pure functions of tensors. Imports torch, but not transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

LogitsProcessor = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Function that transformers calls: (tokens so far, scores of the next token), one row per prompt -> scores."""


@dataclass(frozen=True)
class Sampling:
    """The settings of sampling, applied in the order of transformers and vLLM: penalty, temperature, nucleus."""

    max_new_tokens: int
    temperature: float = 0.0
    """Temperature of the softmax. 0 takes the most likely token; `top_p` and seeds have no effect then."""
    top_p: float = 1.0
    """Total probability of the most likely tokens to choose from."""
    repetition_penalty: float = 1.0
    """Penalty of tokens that occur in the prompt or the completion; above 1 they become less likely."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise ValueError(f"{self} is not a valid sampling")


class TokenSampler:
    """A sampler of up to `limit` tokens per row; row i uses one random number per step, from seeds[i] only."""

    def __init__(self, sampling: Sampling, seeds: Sequence[int], limit: int) -> None:
        self._sampling = sampling
        self._draws = torch.from_numpy(np.stack([np.random.default_rng(seed).random(limit) for seed in seeds]))

    def __call__(self, step: int, seen: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the tokens of a step, one per row. seen: tokens to penalize, a bool tensor of the shape of scores."""
        sampling = self._sampling
        scores = penalize(scores.float(), seen, sampling.repetition_penalty)
        if sampling.temperature == 0:
            return scores.argmax(-1)
        return sample_nucleus(scores / sampling.temperature, sampling.top_p, self._draws[:, step].to(scores.device))

    def processor(self, attention_mask: torch.Tensor) -> LogitsProcessor:
        """Return a processor for greedy decoding that sets every score but that of the sampled token to -inf.

        attention_mask: of the prompts, 0 where they are padded.
        """
        width = attention_mask.shape[1]

        def process(tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            real = torch.ones_like(tokens, dtype=torch.bool)
            real[:, :width] = attention_mask.to(tokens.device).bool()
            seen = torch.zeros(scores.shape, dtype=torch.int32, device=scores.device)
            seen.scatter_add_(1, tokens, real.int())
            chosen = self(tokens.shape[1] - width, seen > 0, scores)
            return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)

        return process


def penalize(scores: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Divide positive scores of seen tokens by the penalty, multiply negative ones by it (Keskar et al. 2019)."""
    if penalty == 1:
        return scores
    return torch.where(seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores)


def sample_nucleus(scores: torch.Tensor, top_p: float, draws: torch.Tensor) -> torch.Tensor:
    """Return one token per row, by inverse transform sampling within the nucleus.

    The nucleus is the smallest set of most likely tokens with a total probability of at least `top_p`; among equally
    likely tokens the lower id comes first. draws: float64 in [0, 1), one per row.
    """
    # In float64, so that the rounding of the sum does not move a draw to another token.
    chances, tokens = torch.sort(torch.softmax(scores.double(), -1), stable=True, descending=True)
    before = chances.cumsum(-1) - chances
    chances = torch.where(before < top_p, chances, 0.0)
    reached = chances.cumsum(-1)
    place = (reached <= draws[:, None] * reached[:, -1:]).sum(-1, keepdim=True)
    last = (chances > 0).sum(-1, keepdim=True) - 1
    return tokens.gather(1, torch.minimum(place, last)).squeeze(1)
