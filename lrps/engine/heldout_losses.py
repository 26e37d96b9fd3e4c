"""Losses of held-out sequences, as an engine returns them for the sequences of one rank."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class HeldoutLosses:
    """Losses of some sequences: their sum over all tokens, and the mean of each sequence.

    The sum is rounded in another order than the means, so that it stays equal, bit for bit, to that of earlier versions
    of lrps.
    """

    total: float
    """Sum of the losses of all predicted tokens, in nats."""
    tokens: int
    """Number of predicted tokens."""
    means: list[float]
    """Mean loss of each sequence in nats per predicted token, in the order of the sequences."""


def token_losses(logits: Tensor, rows: Tensor) -> Tensor:
    """Return the losses of all tokens but the first of each row, in nats, flat.

    logits: (rows, length, vocabulary). rows: token ids (rows, length).
    """
    logits, targets = logits[:, :-1].float().flatten(0, 1), rows[:, 1:].flatten()
    return nn.functional.cross_entropy(logits, targets, reduction="none")
