"""Lion against its definition in fp64 (Chen et al. 2023, algorithm 2)."""

from __future__ import annotations

import pytest
import torch

from lrps.engine.optimizers import lion
from lrps.engine.optimizers.lion import Lion


def reference(weights, gradients, betas, rate, decay):
    """Weights after the steps, by the formulas of the paper."""
    momentum = torch.zeros_like(weights)
    for gradient in gradients:
        update = (betas[0] * momentum + (1 - betas[0]) * gradient).sign()
        weights = weights - rate * (update + decay * weights)
        momentum = betas[1] * momentum + (1 - betas[1]) * gradient
    return weights, momentum


@pytest.mark.parametrize("chunk", [2**24, 7])
def test_steps_are_those_of_the_paper(chunk, monkeypatch):
    monkeypatch.setattr(lion, "_CHUNK", chunk)
    generator = torch.Generator().manual_seed(3)
    begin = torch.randn(5, 9, generator=generator)
    gradients = [torch.randn(5, 9, generator=generator) for _ in range(7)]
    parameter, betas, rate, decay = torch.nn.Parameter(begin.clone()), (0.9, 0.99), 0.03, 0.5
    optimizer = Lion([{"params": [parameter], "weight_decay": decay}], betas)
    optimizer.param_groups[0]["lr"] = rate
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    weights, momentum = reference(begin.double(), [each.double() for each in gradients], betas, rate, decay)
    torch.testing.assert_close(parameter.detach().double(), weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(optimizer.state[parameter]["exp_avg"].double(), momentum, rtol=0, atol=1e-6)


def test_a_parameter_without_a_gradient_stays():
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = Lion([{"params": [parameter], "weight_decay": 1.0}], (0.9, 0.99))
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step()
    assert parameter.tolist() == [1, 1, 1]
    assert not optimizer.state
