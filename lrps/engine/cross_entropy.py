"""The loss of a causal language model in chunks of logits, each with its gradient.

Logits of (rows x length x vocabulary), in fp32 and with their gradient, are often the largest tensors of a step. Here
the output layer takes the hidden states in chunks, and the gradient of each chunk is computed while its logits exist:
nothing is computed twice, and backward only scales. torch's own linear_cross_entropy does the same, but rounds
the loss of bf16 states to bf16. Must not import deepspeed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lrps.engine.packing import NOT_PREDICTED

CHUNK_ELEMENTS = 2**25
"""Number of logits per chunk: 128 MB in fp32, 1,024 tokens for a vocabulary of 32k."""


def chunked_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, elements: int = CHUNK_ELEMENTS
) -> Tensor:
    """Return the mean cross-entropy of the logits `hidden @ weight.T + bias` over the targets, in nats and fp32.

    hidden: (tokens, width). weight: (vocabulary, width). targets: (tokens,), NOT_PREDICTED for none. elements: number
    of logits per chunk. Backward may be called once.
    """
    rows = max(1, elements // weight.shape[0])
    loss: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, bias, targets, rows, torch.is_grad_enabled())
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, rows: int, gradients: bool
    ) -> Tensor:
        counted = targets != NOT_PREDICTED
        share = counted / counted.sum()
        losses = torch.empty_like(targets, dtype=torch.float32)
        of_hidden = torch.empty_like(hidden) if gradients else None
        # In fp32, since rounding every chunk to bf16 would add up.
        of_weight = torch.zeros_like(weight, dtype=torch.float32) if gradients else None
        of_bias = torch.zeros_like(bias, dtype=torch.float32) if gradients and bias is not None else None
        for begin in range(0, len(hidden), rows):
            chunk = slice(begin, begin + rows)
            places = targets[chunk].clamp(min=0)[:, None]
            logits = nn.functional.linear(hidden[chunk], weight, bias).float()
            log_sum = logits.logsumexp(1, keepdim=True)
            losses[chunk] = (log_sum - logits.gather(1, places))[:, 0]
            if of_hidden is None or of_weight is None:
                continue
            # Gradient of the loss by the logits: (softmax - one-hot) of the predicted tokens, divided by their number.
            logits.sub_(log_sum).exp_()
            logits.scatter_add_(1, places, logits.new_full((), -1.0).expand_as(places))
            gradient = logits.mul_(share[chunk, None]).to(weight.dtype)
            torch.mm(gradient, weight, out=of_hidden[chunk])
            of_weight += gradient.T @ hidden[chunk]
            if of_bias is not None:
                of_bias += gradient.sum(0, dtype=torch.float32)
        if of_weight is not None:
            of_bias = None if of_bias is None else of_bias.to(weight.dtype)
            ctx.save_for_backward(of_hidden, of_weight.to(weight.dtype), of_bias)
        return (losses.double() * share).sum().float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: Tensor) -> tuple[Tensor | None, ...]:
        # In place: a copy of the weight's gradient would be as large as the weight.
        return *(each if each is None else each.mul_(of_loss) for each in ctx.saved_tensors), None, None, None
