"""The rule of the moving average, and the bits of its updates."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrps.engine.averages.moving_average import EVERY, MovingAverage, exchange, update


@given(st.floats(0.001, 0.999), st.integers(1, 10**6), st.integers(1, 100))
def test_the_weight_is_that_of_the_steps_between_two_updates(horizon: float, updates: int, every: int) -> None:
    rule, step = MovingAverage(horizon, every), updates * every
    beta = 1 - 1 / max(10, horizon * step)
    kept = 1.0
    for _ in range(every):
        kept *= beta
    assert rule.weight(step) == pytest.approx(1 - kept, rel=1e-9, abs=1e-12)
    assert rule.weight(step + 1) is None or every == 1


def test_the_reach_follows_the_steps_so_far() -> None:
    rule = MovingAverage(0.045)
    assert rule.every == EVERY == 10
    assert [rule.reach(step) for step in (0, 100, 1000, 100_000)] == [10, 10, 45, 4500]
    assert rule.weight(1000) == pytest.approx(1 - (44 / 45) ** 10)


@pytest.mark.parametrize(
    ("since", "step", "covered"), [(0, 0, False), (0, 9, False), (0, 10, True), (900, 940, False), (955, 1000, True)]
)
def test_an_average_counts_once_it_has_reached_its_horizon(since: int, step: int, covered: bool) -> None:
    assert MovingAverage(0.045).covers(since, step) is covered


@given(st.integers(1, 200), st.floats(1e-6, 0.7), st.integers(0, 2**16))
def test_the_bits_do_not_depend_on_where_tensors_are_cut(size: int, weight: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights, average = (torch.randn(1001, generator=generator) for _ in range(2))
    whole, pieces = average.clone(), average.clone()
    update([(weights, whole)], weight)
    update(zip(weights.split(size), pieces.split(size), strict=True), weight)
    assert torch.equal(whole, pieces)


def test_an_exchange_moves_values_and_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrps.engine.averages.moving_average._CHUNK", 4)
    values = torch.tensor([0.0, -0.0, 1.0, math.inf, 5e-324, 2.0, 3.0, math.pi, 1e38]), torch.arange(9.0)
    weights, average = (each.clone() for each in values)
    places = weights.data_ptr(), average.data_ptr()
    exchange([(weights, average)])
    assert torch.equal(weights, values[1])
    assert torch.equal(average, values[0])
    exchange([(weights, average)])
    assert (weights.numpy().tobytes(), average.numpy().tobytes()) == tuple(each.numpy().tobytes() for each in values)
    assert (weights.data_ptr(), average.data_ptr()) == places
