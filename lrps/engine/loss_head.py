"""A model that gives its loss without its logits: the output layer takes the labels with the hidden states.

Which models can is found out by trying, not by a list: scaled or capped logits, losses of experts and whatever a
model does between its last layer and its loss show in a loss that differs. Must not import deepspeed. Imports
transformers when a model is changed, because that takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lrps.engine.cross_entropy import CHUNK_ELEMENTS, chunked_cross_entropy
from lrps.engine.packing import NOT_PREDICTED

_VOLUMES = (1.0, 100.0)
"""Of the hidden states. Fresh weights give logits near 0, where a cap of 30 changes nothing that could be seen; next to
the losses of large ones a small loss of experts is nothing."""
_TOLERANCE = 1e-6
"""Relative: both losses come from the same logits, in fp32."""


class LossHead(nn.Linear):
    """An output layer that gives the mean loss of its targets. Hooks of ZeRO-3, which gather its weight, fire."""

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """hidden: (tokens, width). targets: (tokens,), NOT_PREDICTED where none is. In nats and fp32."""
        if len(hidden) * self.weight.shape[0] > CHUNK_ELEMENTS:
            return chunked_cross_entropy(hidden, self.weight, self.bias, targets, CHUNK_ELEMENTS)
        # Few logits are taken at once, as transformers does it: bit for bit.
        logits = nn.functional.linear(hidden, self.weight, self.bias).float()
        return nn.functional.cross_entropy(logits, targets, ignore_index=NOT_PREDICTED)


def enable_fused_loss(model: Any, loss: Callable[[], Tensor]) -> str | None:
    """Let `model(labels=...)` give its loss without logits; returns why it cannot, and leaves it as it was then.

    loss: calls the model, on rows that are always the same, for its loss. It is called before and after, and must
    leave the random state as it was.
    """
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear:
        return "has no plain output layer"
    if model.base_model is model:
        return "has no part that ends before its output layer"
    known = {id(parameter) for part in (model.base_model, head) for parameter in part.parameters()}
    # A learned scale begins as 1 and a bias as 0: no loss would show them, and they would never learn.
    if any(id(parameter) not in known for parameter in model.parameters()):
        return "has weights outside its layers and its output layer"
    before = _losses(head, loss)
    _change(model, head)
    try:
        after = _losses(head, loss)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        give_logits(model)
        return f"cannot be called in two parts ({error})"
    if torch.allclose(before, after, rtol=_TOLERANCE, atol=0.0):
        return None
    give_logits(model)
    return "makes its loss of more than its last hidden states and its output layer"


def _losses(head: nn.Linear, loss: Callable[[], Tensor]) -> Tensor:
    """At each volume of what the output layer is given."""
    found = []
    for volume in _VOLUMES:
        hook = head.register_forward_pre_hook(lambda _, given, volume=volume: (volume * given[0], *given[1:]))
        try:
            found.append(loss())
        finally:
            hook.remove()
    return torch.stack(found)


def _change(model: Any, head: nn.Linear) -> None:
    from transformers.modeling_outputs import CausalLMOutput

    def forward(*, labels: Tensor, **inputs: Any) -> CausalLMOutput:
        hidden = model.base_model(**inputs).last_hidden_state
        # The token after the last one is not there to be predicted.
        targets = nn.functional.pad(labels[..., 1:], (0, 1), value=NOT_PREDICTED)
        return CausalLMOutput(loss=head(hidden.flatten(0, -2), targets.flatten()))

    head.__class__ = LossHead
    model.forward = forward


def give_logits(model: Any) -> None:
    """Take `enable_fused_loss` back."""
    model.get_output_embeddings().__class__ = nn.Linear
    del model.forward
