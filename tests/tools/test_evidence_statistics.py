"""Statistics of tools/evidence_statistics.py: Student's t against published values, laws of intervals and claims."""

from __future__ import annotations

import math
import re
import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from support.values import load_tool

tool = load_tool("evidence_statistics")

differences = st.lists(st.floats(-0.1, 0.1).map(lambda x: round(x, 6)), min_size=2, max_size=20).map(tuple)


PRINTED = {
    1: (6.314, 12.706, 63.657),
    2: (2.920, 4.303, 9.925),
    5: (2.015, 2.571, 4.032),
    11: (1.796, 2.201, 3.106),
    30: (1.697, 2.042, 2.750),
    120: (1.658, 1.980, 2.617),
}
"""Two-sided quantiles of Student's t at 90, 95 and 99 %, by degrees of freedom."""


@pytest.mark.parametrize("degrees", PRINTED)
def test_quantiles_are_those_of_printed_tables(degrees: int) -> None:
    found = [tool.t_quantile(confidence, degrees) for confidence in (0.90, 0.95, 0.99)]
    assert found == pytest.approx(PRINTED[degrees], abs=6e-4)


@given(st.integers(1, 200), st.floats(0.01, 0.999))
def test_a_quantile_has_its_share(degrees: int, confidence: float) -> None:
    assert tool.t_share(tool.t_quantile(confidence, degrees), degrees) == pytest.approx(confidence, abs=1e-9)


@given(st.integers(1, 50), st.floats(0.5, 0.99))
def test_quantiles_fall_towards_those_of_the_normal_distribution(degrees: int, confidence: float) -> None:
    normal = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    assert tool.t_quantile(confidence, degrees) > tool.t_quantile(confidence, degrees + 1) > normal


def test_an_interval_by_hand() -> None:
    """Mean 2, standard deviation 1, three values: 4.303 / sqrt(3) on each side."""
    paired = tool.Paired((1.0, 2.0, 3.0))
    assert (paired.mean, paired.deviation, paired.same_sign) == (2.0, 1.0, 3)
    assert paired.half_width() == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)
    assert not paired.is_shown


def test_two_one_sided_tests_by_hand() -> None:
    """Mean 0, standard deviation 0.01, three values: 2.920 x 0.01 / sqrt(3) = 0.01686 at 90 %."""
    paired = tool.Paired((-0.01, 0.0, 0.01))
    assert [paired.is_equal_within(margin) for margin in (0.0168, 0.0169)] == [False, True]


@given(differences, st.floats(-0.05, 0.05), st.floats(0.1, 10))
def test_intervals_follow_shifts_and_scales(values: tuple[float, ...], shift: float, scale: float) -> None:
    paired, moved = tool.Paired(values), tool.Paired(tuple(scale * value + shift for value in values))
    assert moved.mean == pytest.approx(scale * paired.mean + shift, abs=1e-9)
    assert moved.half_width() == pytest.approx(scale * paired.half_width(), abs=1e-9)


@given(differences, st.floats(1e-4, 0.1))
def test_the_other_way_round_shows_the_same(values: tuple[float, ...], margin: float) -> None:
    paired, turned = tool.Paired(values), tool.Paired(tuple(-value for value in values))
    assert paired.is_shown == turned.is_shown
    assert paired.is_equal_within(margin) == turned.is_equal_within(margin)
    assert paired.same_sign == turned.same_sign
    opposite = {"worse": "better", "better": "worse"}
    words = re.sub("worse|better", lambda found: opposite[found[0]], paired.claim(margin, 0.01))
    assert turned.claim(margin, 0.01) == words


@given(differences, st.floats(1e-4, 0.1))
def test_a_wider_margin_never_ends_an_equality(values: tuple[float, ...], margin: float) -> None:
    paired = tool.Paired(values)
    assert paired.is_equal_within(2 * margin) or not paired.is_equal_within(margin)


@given(st.floats(1e-4, 0.1), st.floats(1e-3, 0.1), st.sampled_from([0.90, 0.95]))
def test_the_seeds_needed_are_the_fewest(spread: float, bound: float, confidence: float) -> None:
    needed = tool.seeds_needed(spread, bound, confidence)
    assume(needed is not None)

    def half_width(n: int) -> float:
        return float(tool.t_quantile(confidence, n - 1) * spread / math.sqrt(n))

    assert needed >= 2
    assert half_width(needed) < bound
    assert needed == 2 or half_width(needed - 1) >= bound


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.020, 0.021, 0.022), "worse: shown"),
        ((-0.020, -0.021, -0.022), "better: shown"),
        ((0.001, -0.001, 0.0005), "equal within 1 %"),
        ((0.0050, 0.0051, 0.0049), "worse: shown; equal within 1 %"),
        ((0.0, 0.0, 0.0), "equal within 1 %"),
        ((0.01,), "not shown, needs more than one seed"),
        ((0.02, -0.02, 0.04, -0.02), "not shown, needs about 27 seeds"),  # 1.7056 x 0.03 / sqrt(27) < 0.01
    ],
)
def test_claims_in_fixed_words(values: tuple[float, ...], words: str) -> None:
    """The margin is 0.015, 1 % of a loss of 1.5."""
    assert tool.Paired(values).claim(0.015, 0.01) == words


def test_a_difference_at_the_margin_that_no_number_of_seeds_shows() -> None:
    values = tuple(0.001 + 0.5 * sign for sign in (-1, 1, -1, 1))
    assert tool.Paired(values).claim(0.002, 0.01) == "not shown, needs more than 1,000 seeds"
