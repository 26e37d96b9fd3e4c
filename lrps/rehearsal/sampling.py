"""Sampling of the next token for each prompt of a batch, with random numbers per prompt.

Pure functions of tensors. Imports torch, but not transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

LogitsProcessor = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Function that transformers calls: (tokens so far, scores of the next token), one row per prompt -> scores."""
PenaltyScope = Literal["completion", "all"]

LIKELIEST = 64
"""Number of the most likely tokens that are sorted first; the whole vocabulary is sorted if they are too few."""
_MARGIN = 1e-9
"""Probability by which those tokens have to exceed `top_p`, far above the rounding of a sum in float64."""


@dataclass(frozen=True)
class Sampling:
    """The settings of sampling, applied in the order of transformers and vLLM: penalty, temperature, nucleus."""

    max_new_tokens: int
    temperature: float = 0.0
    """Temperature of the softmax. 0 takes the most likely token; `top_p` and seeds have no effect then."""
    top_p: float = 1.0
    """Total probability of the most likely tokens to choose from."""
    repetition_penalty: float = 1.0
    """Penalty of tokens that occurred before; above 1 they become less likely."""
    penalty_on: PenaltyScope = "completion"
    """Tokens that are penalized: those of the completion only, or those of the prompt too (`all`)."""
    stop: tuple[str, ...] = ()
    """Texts that end a completion before them."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise ValueError(f"{self} is not a valid sampling")
        if not all(self.stop):
            raise ValueError(f"{self} is not a valid sampling: an empty text would stop everything")

    @property
    def identity(self) -> dict[str, Any]:
        """The settings as JSON values for the identity of a stage.

        A key that older releases did not know is left out where their meaning applies: the penalty on all tokens, and
        no text that stops.
        """
        values = asdict(self)
        scope, stop = values.pop("penalty_on"), values.pop("stop")
        if scope != "all" and self.repetition_penalty != 1:
            values["penalty_on"] = scope
        return values | ({"stop": list(stop)} if stop else {})


class TokenSampler:
    """A sampler of up to `limit` tokens per row; row i uses one random number per step, from seeds[i] only."""

    def __init__(self, sampling: Sampling, seeds: Sequence[int], limit: int) -> None:
        self._sampling = sampling
        self._draws = torch.from_numpy(np.stack([np.random.default_rng(seed).random(limit) for seed in seeds]))

    def __call__(self, step: int, before: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the tokens of a step, one per row. before: (rows, any number) ids of the tokens to penalize."""
        sampling = self._sampling
        scores = penalize(scores.float(), before, sampling.repetition_penalty)
        if sampling.temperature == 0:
            return scores.argmax(-1)
        return sample_nucleus(scores / sampling.temperature, sampling.top_p, self._draws[:, step].to(scores.device))

    def processor(self, attention_mask: torch.Tensor) -> LogitsProcessor:
        """Return a processor for greedy decoding that sets every score but that of the sampled token to -inf.

        attention_mask: of the prompts, 0 where they are padded, on the left.
        """
        width = attention_mask.shape[1]

        def process(tokens: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            before = tokens[:, width:]
            if self._sampling.penalty_on == "all":  # The last token of a prompt replaces its padding.
                real = attention_mask.to(tokens.device).bool()
                prompts = torch.where(real, tokens[:, :width], tokens[:, width - 1 : width])
                before = torch.cat([prompts, before], 1)
            chosen = self(tokens.shape[1] - width, before, scores)
            return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)

        return process


def penalize(scores: torch.Tensor, before: torch.Tensor, penalty: float) -> torch.Tensor:
    """Divide positive scores of the tokens `before` by the penalty, multiply negative ones (Keskar et al. 2019).

    A token that occurs several times is penalized once.
    """
    if penalty == 1 or before.shape[1] == 0:
        return scores
    found = scores.gather(1, before)
    return scores.scatter(1, before, torch.where(found > 0, found / penalty, found * penalty))


def sample_nucleus(scores: torch.Tensor, top_p: float, draws: torch.Tensor) -> torch.Tensor:
    """Return one token per row, by inverse transform sampling within the nucleus.

    The nucleus is the smallest set of most likely tokens with a total probability of at least `top_p`; among equally
    likely tokens the lower id comes first. draws: float64 in [0, 1), one per row.
    """
    # In float64, so that the rounding of the sum does not move a draw to another token.
    chances = torch.softmax(scores.double(), -1)
    if top_p == 1 or scores.shape[1] <= LIKELIEST:
        return _draw(*_sorted(chances), top_p, draws)
    head, tokens = _likeliest(scores, chances)
    chosen = _draw(head, tokens, top_p, draws)
    # A token as likely as the last one may be missing, so only those above it are known to be all.
    short = torch.where(head > head[:, -1:], head, 0.0).sum(-1) < top_p + _MARGIN
    if short.any():
        chosen[short] = _draw(*_sorted(chances[short]), top_p, draws[short])
    return chosen


def _sorted(chances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all chances in descending order, and their tokens."""
    found, tokens = torch.sort(chances, stable=True, descending=True)
    return found, tokens


def _likeliest(scores: torch.Tensor, chances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the chances of the LIKELIEST tokens in descending order, and their ids, ascending where chances equal."""
    tokens = scores.topk(LIKELIEST, sorted=False).indices.sort().values
    found, order = torch.sort(chances.gather(1, tokens), stable=True, descending=True)
    return found, tokens.gather(1, order)


def _draw(chances: torch.Tensor, tokens: torch.Tensor, top_p: float, draws: torch.Tensor) -> torch.Tensor:
    """Return one token per row from chances in descending order, cut to the nucleus."""
    before = chances.cumsum(-1) - chances
    chances = torch.where(before < top_p, chances, 0.0)
    reached = chances.cumsum(-1)
    place = (reached <= draws[:, None] * reached[:, -1:]).sum(-1, keepdim=True)
    last = (chances > 0).sum(-1, keepdim=True) - 1
    return tokens.gather(1, torch.minimum(place, last)).squeeze(1)
