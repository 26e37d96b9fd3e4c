"""FLOPs, device-hours and money, compared with independent counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lrps.config.models import Config
from lrps.paths.cost import cost_model, cpt_steps, ptfs_steps


def test_hours_and_money(make_config: Callable[..., Config]) -> None:
    price = {"amount": 2.0, "source": "a contract", "date": "2026-01-01"}
    hardware = {"device": "H100", "devices": 8, "mfu": 0.5, "price_per_device_hour": price}
    costs = cost_model(make_config(hardware=hardware))
    cost = costs.of(1000)
    assert cost.tokens == 16_000
    assert cost.flops == 16_000 * costs.flops_per_token  # type: ignore[operator]
    assert cost.device_hours == pytest.approx(cost.flops / (989e12 * 0.5) / 3600)
    assert cost.money == pytest.approx(2 * cost.device_hours)


def test_an_unknown_device_has_no_hours(make_config: Callable[..., Config]) -> None:
    cost = cost_model(make_config(hardware={"device": "cpu"})).of(10)
    assert cost.flops is not None
    assert cost.device_hours is None
    assert cost.money is None


def test_a_parameter_count_replaces_an_unknown_model(make_config: Callable[..., Config]) -> None:
    model = {"architecture": {"model_type": "mamba", "vocab_size": 9}, "parameters": "1B"}
    costs = cost_model(make_config(model=model))
    assert costs.flops_per_token == 6_000_000_000
    assert costs.checkpoint_bytes == 12_000_000_000
    averaged = cost_model(make_config(model=model, average={"ema": {}}))
    assert averaged == replace(costs, checkpoint_bytes=16_000_000_000), "4 bytes a parameter, and nothing else"


def test_closed_forms() -> None:
    assert ptfs_steps([100] * 4) == 1000
    assert ptfs_steps([1, 20, 300]) == 1 + 21 + 321
    assert cpt_steps([1, 20, 300]) == 321
