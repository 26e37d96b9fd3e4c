"""The loss of a causal language model in chunks of logits, each with its gradient.

Logits of (rows x length x vocabulary), in fp32 and with their gradient, are often the largest tensors of a step. Here
the output layer takes the hidden states in chunks, and the gradient of each chunk is computed while its logits exist:
nothing is computed twice, and backward only scales. torch's own linear_cross_entropy does the same, but rounds
the loss of bf16 states to bf16. Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lrps.engine.rows.packing import NOT_PREDICTED

_Passes = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

CHUNK_ELEMENTS = 2**25
"""Number of logits per chunk: 128 MB in fp32, 1,024 tokens for a vocabulary of 32k."""


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    elements: int = CHUNK_ELEMENTS,
    mean_of: float | None = None,
    fused: bool = False,
) -> Tensor:
    """Return the mean cross-entropy of the logits `hidden @ weight.T + bias` over the targets, in nats and fp32.

    hidden: (tokens, width). weight: (vocabulary, width). targets: (tokens,), NOT_PREDICTED for none. elements: number
    of logits per chunk. mean_of: number by which the sum is divided; by default that of the targets. fused: let
    torch.compile join the passes over the logits of a chunk into few, which changes rounding only. Backward may be
    called once.
    """
    if not torch.is_grad_enabled():
        return mean_of_targets(chunked_token_losses(hidden, weight, bias, targets, elements), targets, mean_of)
    passes = _fused_passes() if fused else _losses_and_gradient
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, bias, targets, _rows(elements, weight), mean_of, passes)
    return loss


def chunked_token_losses(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, elements: int = CHUNK_ELEMENTS
) -> Tensor:
    """Return the loss of every token, fp32 (tokens,), with arguments as in `chunked_cross_entropy`; without gradients.

    A token with the target NOT_PREDICTED has some value, which has no meaning.
    """
    rows = _rows(elements, weight)
    losses = torch.empty_like(targets, dtype=torch.float32)
    with torch.no_grad():
        for begin in range(0, len(hidden), rows):
            chunk = slice(begin, begin + rows)
            logits = nn.functional.linear(hidden[chunk], weight, bias).float()
            losses[chunk] = _losses(logits, targets[chunk])[0]
    return losses


def mean_of_targets(losses: Tensor, targets: Tensor, mean_of: float | None = None) -> Tensor:
    """Return the mean of token losses over the targets, in fp32. losses, targets: (tokens,).

    mean_of: number by which the sum is divided; by default that of the targets.
    """
    return (losses.double() * _share(targets, mean_of)).sum().float()


def _share(targets: Tensor, mean_of: float | None) -> Tensor:
    """Return the share of each token in the mean: 0 for NOT_PREDICTED."""
    counted = targets != NOT_PREDICTED
    return counted / (counted.sum() if mean_of is None else mean_of)


def _rows(elements: int, weight: Tensor) -> int:
    return max(1, elements // weight.shape[0])


def _losses(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of tokens, their logsumexp (tokens, 1) and the places of their targets (tokens, 1)."""
    places = targets.clamp(min=0)[:, None]
    log_sum = logits.logsumexp(1, keepdim=True)
    return (log_sum - logits.gather(1, places))[:, 0], log_sum, places


def _losses_and_gradient(output: Tensor, targets: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses of tokens, fp32 (tokens,), and the gradient of their mean by the logits, in their type.

    output: logits (tokens, vocabulary). share: of each token in the mean, (tokens,).
    """
    logits = output.float()
    losses, log_sum, places = _losses(logits, targets)
    # Gradient of the loss by the logits: (softmax - one-hot) of the predicted tokens, divided by their number.
    logits.sub_(log_sum).exp_()
    logits.scatter_add_(1, places, logits.new_full((), -1.0).expand_as(places))
    return losses, logits.mul_(share[:, None]).to(output.dtype)


@cache
def _fused_passes() -> _Passes:
    """Return `_losses_and_gradient` for torch.compile, which compiles it when it is called."""
    return torch.compile(_losses_and_gradient)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        rows: int,
        mean_of: float | None,
        passes: _Passes,
    ) -> Tensor:
        share = _share(targets, mean_of)
        losses = torch.empty_like(targets, dtype=torch.float32)
        of_hidden = torch.empty_like(hidden)
        # In fp32, since rounding every chunk to bf16 would add up.
        of_weight = torch.zeros_like(weight, dtype=torch.float32)
        of_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None else None
        for begin in range(0, len(hidden), rows):
            chunk = slice(begin, begin + rows)
            output = nn.functional.linear(hidden[chunk], weight, bias)
            losses[chunk], gradient = passes(output, targets[chunk], share[chunk])
            torch.mm(gradient, weight, out=of_hidden[chunk])
            of_weight += gradient.T @ hidden[chunk]
            if of_bias is not None:
                of_bias += gradient.sum(0, dtype=torch.float32)
        of_bias = None if of_bias is None else of_bias.to(weight.dtype)
        ctx.save_for_backward(of_hidden, of_weight.to(weight.dtype), of_bias)
        return mean_of_targets(losses, targets, mean_of)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: Tensor) -> tuple[Tensor | None, ...]:
        # In place: a copy of the weight's gradient would be as large as the weight.
        return *(each if each is None else each.mul_(of_loss) for each in ctx.saved_tensors), None, None, None, None
