"""Muon against its definition, torch's own Muon, and AdamW for the parameters that are no matrices."""

from __future__ import annotations

import pytest
import torch

from lrps.base.errors import ConfigError
from lrps.config.optimizing import MuonConfig
from lrps.engine.optimizers.muon import MuonOptimizer
from lrps.engine.optimizers.parameter_groups import hidden_matrices
from support.plain_optimizers import plain_engine, take_steps, tiny_model

RATE, RATIO, DECAY = 1e-2, 5.0, 0.3


def orthogonalized(matrix):
    """The quintic Newton-Schulz iteration of Jordan et al. 2024, in fp64."""
    wide = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        gram = wide @ wide.mT
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide.mT if matrix.shape[0] > matrix.shape[1] else wide


def trained(**settings):
    engine = plain_engine("muon", lr_ratio=RATIO, weight_decay=DECAY, **settings)
    gradients = [{} for _ in range(3)]
    for step, found in enumerate(gradients):
        hooks = [
            parameter.register_post_accumulate_grad_hook(
                lambda p, name=name, found=found: found.update({name: p.grad.clone()})
            )
            for name, parameter in engine.module.named_parameters()
        ]
        take_steps(engine, range(step, step + 1), lr=RATE)
        for hook in hooks:
            hook.remove()
    return engine.module, gradients


def test_matrices_move_along_the_orthogonalized_nesterov_momentum():
    module, gradients = trained(momentum=0.8)
    begun = dict(tiny_model().named_parameters())
    matrices = {id(parameter) for parameter in hidden_matrices(module)}
    compared = 0
    for name, parameter in module.named_parameters():
        if id(parameter) not in matrices:
            continue
        weights, momentum = begun[name].detach().double(), 0.0
        rows, columns = weights.shape
        for step, found in enumerate(gradients):
            gradient = found[name].double()
            momentum = 0.8 * momentum + 0.2 * gradient
            update = orthogonalized(0.8 * momentum + 0.2 * gradient) * max(1, rows / columns) ** 0.5
            rate = RATE / (1 + step) * RATIO
            weights = weights * (1 - rate * DECAY) - rate * update
        torch.testing.assert_close(parameter.detach().double(), weights, rtol=0, atol=2e-5)
        compared += 1
    assert compared == 2 * 7


def test_torch_takes_the_same_steps_up_to_its_rounding_to_bf16():
    """Both orthogonalise in bf16 with other orders of sums, which small matrices amplify: .21 of a move was seen."""
    module, gradients = trained()
    reference = tiny_model()
    matrices = {name: parameter for name, parameter in reference.named_parameters() if "proj" in name}
    optimizer = torch.optim.Muon(matrices.values(), lr=1.0, weight_decay=DECAY, momentum=0.95, adjust_lr_fn="original")
    for step, found in enumerate(gradients):
        for name, parameter in matrices.items():
            parameter.grad = found[name].clone()
        optimizer.param_groups[0]["lr"] = RATE / (1 + step) * RATIO
        optimizer.step()
    own, begun = dict(module.named_parameters()), dict(tiny_model().named_parameters())
    for name, parameter in matrices.items():
        assert (own[name] - parameter).norm() < 0.3 * (own[name] - begun[name]).norm(), name


def test_other_parameters_get_the_steps_of_adamw():
    """Matrices stand still in both engines, so that the gradients are the same."""
    still = {"lr_ratio": 1e-30, "weight_decay": 0.0}
    muon, adamw = plain_engine("muon", **still), plain_engine("adamw", weight_decay=0.0)
    for parameter in hidden_matrices(adamw.module):
        parameter.requires_grad_(False)
    assert take_steps(muon, range(4)) == take_steps(adamw, range(4))
    for (name, one), (_, two) in zip(muon.module.named_parameters(), adamw.module.named_parameters(), strict=True):
        assert torch.equal(one, two), name


def test_only_linear_weights_that_are_no_output_head_are_matrices():
    model = tiny_model()
    matrices = {id(parameter) for parameter in hidden_matrices(model)}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in matrices}
    assert names == {name for name, _ in model.named_parameters() if name.endswith("_proj.weight")}
    assert "lm_head.weight" in dict(model.named_parameters())


def test_a_model_without_matrices_is_refused():
    model = torch.nn.Sequential(torch.nn.Embedding(3, 4), torch.nn.LayerNorm(4))
    with pytest.raises(ConfigError, match="no weight matrices of linear layers"):
        MuonOptimizer.make(model, MuonConfig(kind="muon"))


def test_rates_of_the_two_halves_have_the_ratio():
    engine = plain_engine("muon", lr_ratio=7.0)
    take_steps(engine, range(1), lr=0.5)
    assert {(group["use_muon"], group["lr"]) for group in engine.optimizer.param_groups} == {(True, 3.5), (False, 0.5)}


def test_the_kernels_are_not_compiled():
    from deepspeed.runtime.zero.muon import muon_optimizer, original_muon

    assert not hasattr(original_muon.muon_update, "_torchdynamo_orig_callable")
    assert muon_optimizer.muon_update is original_muon.muon_update
