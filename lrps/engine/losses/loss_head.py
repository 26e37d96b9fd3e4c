"""A fused loss: the output layer takes the labels with the hidden states, and no logits are stored.

Models that support it are found by comparing losses, not by a list: scaled or capped logits, losses of experts and
anything else between the last layer and the loss changes the value. Must not import deepspeed. Imports transformers
when a model is changed, because that takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lrps.engine.losses.cross_entropy import (
    CHUNK_ELEMENTS,
    chunked_cross_entropy,
    chunked_token_losses,
    mean_of_targets,
)
from lrps.engine.rows.packing import NOT_PREDICTED

_SCALES = (1.0, 100.0)
"""Factors of the hidden states. With new weights logits are near 0, where a cap of 30 has no visible effect; beside the
loss of large logits a small loss of experts has none."""
_TOLERANCE = 1e-6
"""Relative tolerance: both losses come from the same logits, in fp32."""

NOT_FINITE = "has a loss that is not finite on a few tokens"
"""Reason for which nothing can be said about the loss."""


class LossHead(nn.Linear):
    """An output layer that returns the mean loss of its targets. As a module it triggers the hooks of ZeRO-3."""

    token_losses: Tensor | None = None
    """Losses of the last call without gradients, fp32 (tokens,); those of NOT_PREDICTED have no meaning."""
    fused = False
    """Whether torch.compile joins the passes over the logits of a chunk in training."""

    def forward(self, hidden: Tensor, targets: Tensor, mean_of: float | None = None) -> Tensor:
        """Return the mean loss in nats, fp32. hidden: (tokens, width). targets: (tokens,), NOT_PREDICTED for none.

        mean_of: number by which the sum of the losses is divided; by default that of the targets. With it, tokens
        without any target have the loss 0.
        """
        training = torch.is_grad_enabled()
        if len(hidden) * self.weight.shape[0] > CHUNK_ELEMENTS:
            if training:
                chunk = (CHUNK_ELEMENTS, mean_of, self.fused)
                return chunked_cross_entropy(hidden, self.weight, self.bias, targets, *chunk)
            self.token_losses = chunked_token_losses(hidden, self.weight, self.bias, targets, CHUNK_ELEMENTS)
            return mean_of_targets(self.token_losses, targets, mean_of)
        # Few logits are computed at once, exactly as in transformers.
        logits = nn.functional.linear(hidden, self.weight, self.bias).float()
        if not training:
            self.token_losses = nn.functional.cross_entropy(
                logits, targets, ignore_index=NOT_PREDICTED, reduction="none"
            )
        if mean_of is None:
            return nn.functional.cross_entropy(logits, targets, ignore_index=NOT_PREDICTED)
        return nn.functional.cross_entropy(logits, targets, ignore_index=NOT_PREDICTED, reduction="sum") / mean_of


def enable_fused_loss(model: Any, loss: Callable[[], Tensor]) -> str | None:
    """Let `model(labels=...)` compute its loss without logits; return None, or the reason why it cannot.

    The model is not changed if it cannot. loss: calls the model for its loss on rows that are always the same. It is
    called before and after the change, and must not change the random state.
    """
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear:
        return "has no plain output layer"
    if model.base_model is model:
        return "has no part that ends before its output layer"
    known = {id(parameter) for part in (model.base_model, head) for parameter in part.parameters()}
    # A learned scale starts at 1 and a bias at 0: no loss would reveal them, and they would not be trained.
    if any(id(parameter) not in known for parameter in model.parameters()):
        return "has weights outside its layers and its output layer"
    before = _losses(head, loss)
    _change(model, head)
    try:
        after = _losses(head, loss)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        disable_fused_loss(model)
        return f"cannot be called in two parts ({error})"
    finite = bool(before.isfinite().all() and after.isfinite().all())
    if finite and torch.allclose(before, after, rtol=_TOLERANCE, atol=0.0):
        return None
    disable_fused_loss(model)
    if not finite:
        return NOT_FINITE
    return "makes its loss of more than its last hidden states and its output layer"


def _losses(head: nn.Linear, loss: Callable[[], Tensor]) -> Tensor:
    """Return the loss for each scale of the output layer's input."""
    found = []
    for scale in _SCALES:
        hook = head.register_forward_pre_hook(lambda _, given, scale=scale: (scale * given[0], *given[1:]))
        try:
            found.append(loss())
        finally:
            hook.remove()
    return torch.stack(found)


def _change(model: Any, head: nn.Linear) -> None:
    from transformers.modeling_outputs import CausalLMOutput

    def forward(
        *, labels: Tensor | None = None, targets: Tensor | None = None, mean_of: float | None = None, **inputs: Any
    ) -> CausalLMOutput:
        """Return the loss by labels, or by targets: labels that are shifted already, of parts of rows."""
        hidden = model.base_model(**inputs).last_hidden_state
        if labels is not None:
            # The last token of a row has no next token to predict.
            targets = nn.functional.pad(labels[..., 1:], (0, 1), value=NOT_PREDICTED)
        assert targets is not None
        return CausalLMOutput(loss=head(hidden.flatten(0, -2), targets.flatten(), mean_of))

    head.__class__ = LossHead
    model.forward = forward


def disable_fused_loss(model: Any) -> None:
    """Undo `enable_fused_loss`."""
    model.get_output_embeddings().__class__ = nn.Linear
    del model.forward
