"""Windows of merges: which saved states a merge averages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lrps.paths.merge_window import COUNT, choose_steps, merge_steps, window_steps


def test_a_released_merge_averages_ten_states_over_a_tenth_of_the_steps_so_far() -> None:
    assert merge_steps(2000) == tuple(range(1820, 2001, 20))
    assert merge_steps(150) == (137, 138, 140, 141, 143, 144, 146, 147, 149, 150)
    assert merge_steps(40) == (37, 38, 39, 40)
    assert [merge_steps(stop) for stop in (1, 2, 9, 25)] == [(1,), (1, 2), (8, 9), (24, 25)]


@given(st.integers(1, 10**7))
def test_the_states_of_a_released_merge_are_spread_evenly_over_its_window(stop: int) -> None:
    steps, length = merge_steps(stop), window_steps(stop)
    assert steps == tuple(sorted(set(steps)))
    assert len(steps) == min(COUNT, length)
    assert 0 <= stop - length < steps[0]
    assert steps[-1] == stop
    gaps = [b - a for a, b in zip((stop - length, *steps), steps, strict=False)]
    assert max(gaps) - min(gaps) <= 1


@given(st.sets(st.integers(1, 1000), min_size=1), st.floats(0.01, 1), st.integers(1, 20))
def test_chosen_steps_are_saved_ones_of_the_window(saved: set[int], window: float, count: int) -> None:
    stop = max(saved)
    inside = {step for step in saved if stop - window_steps(stop, window) < step}
    chosen = choose_steps(saved, stop, window, count)
    assert len(set(chosen)) == len(chosen) == min(count, len(inside))
    assert stop in chosen
    assert inside.issuperset(chosen)
    assert list(chosen) == sorted(chosen)


def test_chosen_steps_are_as_even_as_the_saved_ones_allow() -> None:
    assert choose_steps(range(0, 2001, 10), 2000, 0.1, 10) == merge_steps(2000)
    assert choose_steps([*merge_steps(2000), 1855, 1985, 1999], 2000, 0.1, 10) == merge_steps(2000)
    assert choose_steps([901, 902, 903, 904, 950, 1000], 1000, 0.1, 3) == (904, 950, 1000)
    assert choose_steps([500, 950, 1000], 1000, 0.1, 10) == (950, 1000)
    assert choose_steps([500, 950, 1000, 1001], 1000, 1.0, 2) == (500, 1000)
