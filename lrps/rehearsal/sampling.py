"""The next token of every row of a batch, each row with random numbers of its own. Pure, but for tensors.

Imports torch, and neither transformers nor a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

LogitsProcessor = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""As transformers calls it: (tokens so far, scores of the next one), both a row a prompt -> scores."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Penalty first, then temperature, then the nucleus, as transformers and vLLM do."""

    max_new_tokens: int
    temperature: float = 0.0
    """0: greedy, the most likely token; `top_p` and seeds are without effect then."""
    top_p: float = 1.0
    """Choose among the most likely tokens that hold this probability together."""
    repetition_penalty: float = 1.0
    """Above 1: tokens of the prompt and of the completion so far become less likely."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise ValueError(f"{self} cannot be sampled with")


class Choice:
    """Chooses up to `limit` tokens for each row; row i draws from seeds[i] alone, one number a step."""

    def __init__(self, sampling: Sampling, seeds: Sequence[int], limit: int) -> None:
        self._sampling = sampling
        self._draws = torch.from_numpy(np.stack([np.random.default_rng(seed).random(limit) for seed in seeds]))

    def __call__(self, step: int, seen: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The tokens of step `step`, one a row. seen: bool like scores, the tokens that the penalty is for."""
        sampling = self._sampling
        scores = penalized(scores.float(), seen, sampling.repetition_penalty)
        if sampling.temperature == 0:
            return scores.argmax(-1)
        return drawn(scores / sampling.temperature, sampling.top_p, self._draws[:, step].to(scores.device))

    def processor(self, attention_mask: torch.Tensor) -> LogitsProcessor:
        """The choice as a processor under greedy decoding: every score but the chosen one becomes -inf.

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


def penalized(scores: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Positive scores of seen tokens divided by the penalty, negative ones multiplied (Keskar et al. 2019)."""
    if penalty == 1:
        return scores
    return torch.where(seen, torch.where(scores > 0, scores / penalty, scores * penalty), scores)


def drawn(scores: torch.Tensor, top_p: float, draws: torch.Tensor) -> torch.Tensor:
    """One token a row, by inverse transform sampling within the nucleus.

    The nucleus is the smallest set of most likely tokens that holds at least `top_p`; among equally likely ones the
    lower id comes first. draws: float64 in [0, 1), one a row.
    """
    # In float64: a draw that falls between two tokens falls there whatever the rounding of the sum.
    chances, tokens = torch.sort(torch.softmax(scores.double(), -1), stable=True, descending=True)
    before = chances.cumsum(-1) - chances
    chances = torch.where(before < top_p, chances, 0.0)
    reached = chances.cumsum(-1)
    place = (reached <= draws[:, None] * reached[:, -1:]).sum(-1, keepdim=True)
    last = (chances > 0).sum(-1, keepdim=True) - 1
    return tokens.gather(1, torch.minimum(place, last)).squeeze(1)
