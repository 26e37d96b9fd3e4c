"""The model of what was not measured: which measurements it rests on, and what it makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lrps.costs.estimate import CostRate, estimate
from lrps.costs.sample import Sample

SMALL = Sample("small", "main", "cpu", 2, 100, 25_600, 1_000, 50.0, 40.0, 10.0, "2026-01-01")
H100 = replace(SMALL, device="NVIDIA H100 80GB HBM3", device_seconds=2.0, updated="2026-01-02")
WITH_H100 = {"device": "H100", "mfu": 0.5, "price_per_device_hour": {"amount": 2, "source": "x", "date": "2026-01-01"}}


def test_seconds_of_all_paths_over_the_flops_of_all(make: Any) -> None:
    plan = make()
    slower = replace(SMALL, path="branch-v1", steps=300, tokens=76_800, flops=3_000, device_seconds=250.0, joules=90.0)
    model = estimate(plan, [SMALL, slower])
    rate = model.rate
    per_token = plan.costs.flops_per_token
    assert rate.device_seconds_per_token == pytest.approx(300 / 4_000 * per_token)
    assert (rate.lowest_device_seconds_per_token, rate.highest_device_seconds_per_token) == pytest.approx(
        (50 / 1_000 * per_token, 250 / 3_000 * per_token)
    )
    assert rate.joules_per_token == pytest.approx(100 / 4_000 * per_token)
    assert (rate.source, rate.device, rate.processes, rate.paths, rate.steps) == ("measured", "cpu", 2, 2, 400)
    spent = model.of(10)
    assert spent.tokens == 10 * 256
    assert spent.device_hours == pytest.approx(2_560 * 300 / 4_000 * per_token / 3600)
    assert spent.training_hours == pytest.approx((spent.device_hours or 0) * 80 / 300)
    assert spent.money is None, "the config has no price"
    assert spent.modelled


def test_the_devices_that_trained_last_count(make: Any) -> None:
    rate = estimate(make(), [SMALL, H100, replace(SMALL, processes=4, updated="2026-01-03", tokens=0, flops=0)]).rate
    assert (rate.device, rate.paths) == (H100.device, 1)


def test_other_numbers_of_processes_are_not_pooled(make: Any) -> None:
    four = replace(SMALL, processes=4, device_seconds=400.0, updated="2026-01-03")
    rate = estimate(make(), [SMALL, four]).rate
    assert (rate.processes, rate.paths) == (4, 1)
    assert rate.device_seconds_per_token == pytest.approx(rate.lowest_device_seconds_per_token or 0) != 0


def test_a_start_that_came_to_nothing_is_paid_for_too(make: Any) -> None:
    nothing = replace(SMALL, path="branch-v1", steps=0, tokens=0, flops=0, device_seconds=50.0)
    plan = make()
    lowest = estimate(plan, [SMALL]).rate.lowest_device_seconds_per_token
    assert estimate(plan, [SMALL, nothing]).rate.device_seconds_per_token == pytest.approx(2 * (lowest or 0))


def test_a_model_whose_flops_are_not_known_goes_by_tokens(make: Any) -> None:
    plan = make(model={"architecture": {"model_type": "unheard-of", "vocab_size": 257}})
    rate = estimate(plan, [replace(SMALL, flops=None)], [SMALL]).rate
    assert rate.device_seconds_per_token == pytest.approx(50.0 / 25_600)
    assert rate.device_seconds_per_flop is None
    assert estimate(plan, [], [SMALL]).rate == CostRate(), "tokens of another model say nothing"


def test_other_runs_serve_only_where_hardware_and_processes_fit(make: Any) -> None:
    launch, batch = {"processes": 2}, {"sequences": 4}
    assert estimate(make(launch=launch, batch=batch), [], [SMALL]).rate.runs == ("small",)
    assert estimate(make(), [], [SMALL]).rate.source is None, "one process"
    plan = make(launch=launch, hardware=WITH_H100)
    assert estimate(plan, [], [SMALL]).rate.source == "hardware", "a CPU tells nothing about an H100"
    assert estimate(plan, [], [SMALL, H100]).rate.device == H100.device
    assert estimate(plan, [SMALL], [H100]).rate.device == "cpu", "its own come first"


def test_hardware_is_the_last_resort(make: Any) -> None:
    plan = make(hardware=WITH_H100)
    model = estimate(plan, [])
    assert (model.rate.source, model.rate.device) == ("hardware", "H100")
    spent, planned = model.of(100), plan.costs.of(100)
    assert spent.device_hours == pytest.approx(planned.device_hours)
    assert spent.money == pytest.approx(planned.money)
    assert estimate(make(), []).of(100).device_hours is None
