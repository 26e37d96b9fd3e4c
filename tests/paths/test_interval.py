"""The best checkpoint interval, compared with a simulation of failures, and its edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.paths.interval import advise, daly_interval, slowdown, waste_share, young_interval

UPTIMES = np.random.default_rng(7).exponential(1.0, 400_000)
"""Times between failures, of mean 1."""


def simulated_waste(interval: float, stall: float, restart: float, mtbf: float) -> float:
    """Return the share of the wall time that is no new step, if after each failure a restart and saves follow."""
    up = UPTIMES * mtbf
    useful = np.floor(np.maximum(0, up - restart) / (interval + stall)) * interval
    return float(1 - useful.sum() / up.sum())


runs = st.tuples(
    st.floats(0.1, 600), st.floats(1.0, 1e4), st.floats(0, 0.5)
)  # stall, mean time between failures over it, restart over that mean


@settings(deadline=None, max_examples=25)
@given(runs)
def test_no_other_interval_wastes_less_in_a_simulation(run: tuple[float, float, float]) -> None:
    stall, failures, restarts = run
    mtbf = stall * failures
    best = daly_interval(stall, mtbf)
    waste = simulated_waste(best, stall, restarts * mtbf, mtbf)
    others = [simulated_waste(best * factor, stall, restarts * mtbf, mtbf) for factor in (0.25, 0.5, 0.8, 1.25, 2, 4)]
    assert waste <= 1.02 * min(others)
    assert waste < min(others[0], others[-1]), "a quarter of it, and four times it, are clearly worse"


@settings(deadline=None, max_examples=25)
@given(runs, st.floats(0.2, 5))
def test_the_expected_waste_is_that_of_a_simulation(run: tuple[float, float, float], factor: float) -> None:
    stall, failures, restarts = run
    mtbf = stall * failures
    interval = factor * daly_interval(stall, mtbf)
    expected = waste_share(interval, stall, restarts * mtbf, mtbf)
    assert simulated_waste(interval, stall, restarts * mtbf, mtbf) == pytest.approx(expected, rel=0.03)


def test_dalys_interval_is_near_the_exact_minimum() -> None:
    """The minimum is that of equation 20. Young's interval departs from it as failures become more frequent."""
    for failures in (5, 20, 100, 1000):
        grid = np.geomspace(0.1, 10 * failures, 20_000)
        exact = grid[np.argmin([slowdown(interval, 1.0, 0.0, failures) for interval in grid])]
        assert daly_interval(1.0, failures) == pytest.approx(exact, rel=0.01)
    assert young_interval(1.0, 5) > 1.2 * daly_interval(1.0, 5)


def test_the_textbook_case() -> None:
    assert young_interval(50, 3600) == pytest.approx(600)
    assert daly_interval(50, 3600) == pytest.approx(600 * (1 + 1 / 36 + 1 / 1296) - 50)


def test_saving_that_takes_longer_than_runs_live() -> None:
    assert daly_interval(20, 10) == 10
    assert waste_share(10, 1e5, 0, 10) == 1, "no progress, and no overflow"


def test_advice_is_in_whole_steps_and_costs_what_these_cost() -> None:
    advice = advise(stall=50, restart=300, mtbf=3600, step_seconds=250)
    assert (advice.steps, advice.seconds) == (2, daly_interval(50, 3600))
    assert advice.waste_share == waste_share(500, 50, 300, 3600)
    assert advise(stall=1e-3, restart=0, mtbf=3600, step_seconds=250).steps == 1
    assert math.isclose(advice.minutes * 60, advice.seconds)
