"""Losses of held-out sequences, as an engine returns them for the sequences of one rank."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lrps.engine.rows.packing import NOT_PREDICTED


@dataclass(frozen=True)
class HeldoutLosses:
    """Losses of some sequences: their sum over all tokens, and the mean of each sequence.

    The sum is rounded in another order than the means, so that it stays equal, bit for bit, to that of earlier versions
    of lrps.
    """

    total: float
    """Sum of the losses of all targets, in nats."""
    tokens: int
    """Number of targets."""
    means: list[float]
    """Mean loss of each sequence in nats per target, in the order of the sequences; 0 for one without a target."""


def token_losses(logits: Tensor, rows: Tensor) -> Tensor:
    """Return the losses of all tokens but the first of each row, in nats, flat; 0 for tokens that are no targets.

    logits: (rows, length, vocabulary). rows: token ids (rows, length), those that are no targets negative.
    """
    logits, targets = logits[:, :-1].float().flatten(0, 1), rows[:, 1:].flatten()
    return nn.functional.cross_entropy(
        logits, targets.masked_fill(targets < 0, NOT_PREDICTED), ignore_index=NOT_PREDICTED, reduction="none"
    )


def sums_and_means(losses: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses of targets, and the mean of each row, in fp64. losses: (rows, length - 1)."""
    targets = (rows[:, 1:] >= 0).to(losses.device)
    counted = losses.double().masked_fill(~targets, 0.0)
    return counted.sum(), counted.sum(1) / targets.sum(1).clamp(min=1)
