"""The forecast inside a branch, and when a branch has left it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.forecast.branch import BranchPlan
from lrps.forecast.main_curve import MainCurve
from lrps.forecast.mid_branch import loss_within, off_forecast

CURVE = MainCurve(2.8, 12.0, 0.5, 0.0, 2_000, 24_000)
shapes = st.sampled_from(["linear", "1-sqrt", "cosine", "multi-step"])


@given(shapes, st.integers(1_000, 40_000), st.integers(100, 20_000), st.floats(0.01, 0.5))
def test_it_begins_on_the_main_path_and_ends_at_the_forecast(shape: str, fork: int, steps: int, gain: float) -> None:
    branch = BranchPlan(fork, steps, shape)
    assert loss_within(CURVE, branch, gain, fork) == CURVE.at(fork)
    assert loss_within(CURVE, branch, gain, fork + steps) == pytest.approx(CURVE.at(branch.main_step) - gain)


def test_half_of_a_linear_decay_is_half_of_its_integrals() -> None:
    """Progress int_0^.5 (1 - p)^.5 dp = (1 - .5^1.5) / 1.5; gain int_0^.5 (that with p as the lower end)^.15 dp."""
    branch = BranchPlan(10_000, 4_000, "linear")
    n = 20_000
    gain = sum((((1 - p) ** 1.5 - 0.5**1.5) / 1.5) ** 0.15 / n / 2 for p in ((i + 0.5) / n / 2 for i in range(n)))
    expected = CURVE.at(10_000 + (1 - 0.5**1.5) / 1.5 * 4_000) - 0.2 * gain / branch.integrals.gain
    assert loss_within(CURVE, branch, 0.2, 12_000) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3.0, 3.0, 3.0], None),
        ([3.021, 3.0, 3.021], None),
        ([3.0, 3.021, 2.979], (3, 2.979)),
        ([3.021, 3.021, 3.021], (2, 3.021)),
        ([3.019, 3.019, 3.019], None),
        ([3.021], None),
    ],
)
def test_two_in_a_row_beyond_two_half_widths_are_off(losses: list[float], expected: tuple[int, float] | None) -> None:
    observed = list(enumerate(losses, 1))
    assert off_forecast(observed[::-1], lambda _: 3.0, 0.01) == expected


def test_a_rate_that_does_not_fall_stays_on_the_main_path() -> None:
    flat = BranchPlan(10_000, 4_000, "linear", final=1.0)
    assert loss_within(CURVE, flat, 0.0, 12_000) == pytest.approx(CURVE.at(12_000))
