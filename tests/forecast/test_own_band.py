"""The band from a run's own errors: the .9-quantile of what its finished branches were off by, from eight on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.forecast import Branch, forecast_branch
from lrps.forecast.band import half_width
from lrps.forecast.branch import BranchPlan
from lrps.forecast.own_band import LEAST_ERRORS, own_errors, own_share, share_of_errors

POINTS = tuple((float(t), 2.8 + 12 * t**-0.5) for t in range(500, 60_001, 500))
shares = st.lists(st.floats(-0.5, 0.5), min_size=LEAST_ERRORS, max_size=40)


def branches(count: int, noise: float = 0.0, seed: int = 0) -> list[Branch]:
    """Return branches at the same share that follow the law; their gains are off by shares with this sd."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(1, count + 1):
        plan = BranchPlan(4_000 * k, 1_000 * k, "linear")
        gain = 0.06 * plan.gain_factor * (1 + noise * rng.standard_normal())
        found.append(Branch(plan.fork, plan.steps, "linear", 2.8 + 12 * plan.main_step**-0.5 - gain))
    return found


@given(shares)
def test_nine_of_ten_errors_are_within_the_share(errors: list[float]) -> None:
    share = share_of_errors(errors)
    assert share is not None
    sizes = np.abs(errors)
    assert sizes.min() <= share <= sizes.max()
    assert np.sum(sizes <= share + 1e-12) >= 0.9 * (len(errors) - 1)


@given(shares, st.floats(0, 10), st.randoms())
def test_the_share_follows_the_size_of_the_errors_alone(errors: list[float], factor: float, random) -> None:  # type: ignore[no-untyped-def]
    share = share_of_errors(errors)
    assert share is not None
    mixed = [-error for error in errors]
    random.shuffle(mixed)
    assert share_of_errors(mixed) == pytest.approx(share)
    assert share_of_errors([factor * error for error in errors]) == pytest.approx(factor * share)


def test_few_errors_are_none() -> None:
    assert share_of_errors([0.1] * (LEAST_ERRORS - 1)) is None


@pytest.mark.parametrize(("count", "own"), [(7, 0), (8, 8), (9, 9)])
def test_the_band_is_the_runs_own_from_eight_branches_on(count: int, own: int) -> None:
    history = branches(count, noise=0.2)
    forecast = forecast_branch(POINTS[: 8 * count + 8], history, fork=4_000 * (count + 1), steps=4_000, shape="linear")
    share = own_share(POINTS[: 8 * count + 8], history)
    assert forecast.band_branches == own
    assert (share is not None) == bool(own)
    known = {"length_ratio": 4_000 / (1_000 * count), "horizon_ratio": forecast.branch.main_step / forecast.curve.known}
    expected = half_width(forecast.gain, count, **known, new_shape=False, own_share=share)
    assert forecast.half_width == pytest.approx(expected)
    if share is not None:
        assert share > 0.05, "branches that are off by a fifth of their gain widen the band"


def test_branches_that_follow_the_law_narrow_the_band() -> None:
    share = own_share(POINTS, branches(9))
    assert share is not None
    assert share < 0.01


def test_an_error_rests_on_what_was_known_at_the_fork() -> None:
    history = tuple(branches(9, noise=0.1))
    errors = own_errors(POINTS, history, 0)
    assert len(errors) == 8
    later = (*history[:-1], Branch(36_000, 9_000, "linear", 1.0))
    known = tuple((t, loss + (0.5 if t > 32_000 else 0.0)) for t, loss in POINTS)
    assert own_errors(known, later, 0)[:-1] == errors[:-1]
    assert own_errors(known, later, 0)[-1] != errors[-1]


def test_an_error_rests_on_no_branch_that_forked_later() -> None:
    """The fifth branch forks after the sixth, which ends later: the sixth could not know it."""
    history = branches(9)
    late = replace(history[4], fork=history[5].fork + 500)
    odd = (*history[:4], replace(late, loss=late.loss - 1.0), *history[5:])
    even = (*history[:4], late, *history[5:])
    assert own_errors(POINTS, odd, 0)[4] == own_errors(POINTS, even, 0)[4]
    assert own_errors(POINTS, odd, 0)[5] != own_errors(POINTS, even, 0)[5]
