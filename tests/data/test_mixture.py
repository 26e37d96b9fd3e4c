from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lrps.data.manifest import MIXTURE
from lrps.data.mixture import Mixture

SMALL = st.lists(st.integers(0, 200), min_size=1, max_size=12).filter(any)
BOUND = 1.5
LARGE = st.lists(st.integers(0, 2**50), min_size=1, max_size=12).filter(any)


@given(SMALL)
def test_totals_are_exact_and_every_source_is_read_in_its_order(counts):
    mixture = Mixture(counts)
    source, index = mixture.assign(np.arange(mixture.rows))
    for number, count in enumerate(counts):
        assert index[source == number].tolist() == list(range(count))


@given(SMALL)
@example([1] * 40 + [1000])
@example([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89])
@example([100] * 33)
@example([1, 1000, 1, 1000, 1, 3000])
def test_every_source_stays_close_to_its_share(counts):
    mixture = Mixture(counts)
    source, _ = mixture.assign(np.arange(mixture.rows))
    t = np.arange(1, mixture.rows + 1)
    for number, count in enumerate(counts):
        taken = np.cumsum(source == number)
        assert np.abs(taken - t * count / mixture.rows).max() <= BOUND


@given(LARGE, st.data())
def test_large_counts_neither_overflow_nor_drift(counts, data):
    mixture = Mixture(counts)
    t = data.draw(st.integers(0, mixture.rows - 1))
    taken = mixture.taken(t)
    assert sum(taken) == t
    for n, count in zip(taken, counts, strict=True):
        assert abs(n - Fraction(t * count, mixture.rows)) <= BOUND


@given(st.one_of(SMALL, LARGE), st.data())
def test_assign_and_taken_tell_the_same_story(counts, data):
    mixture = Mixture(counts)
    t = data.draw(st.integers(0, mixture.rows - 1))
    (source,), (index,) = mixture.assign(np.array([t]))
    before, after = mixture.taken(t), mixture.taken(t + 1)
    assert index == before[source]
    assert [b - a for a, b in zip(before, after, strict=True)] == [int(n == source) for n in range(len(counts))]


@given(st.one_of(SMALL, LARGE))
def test_all_is_taken_at_the_end(counts):
    assert Mixture(counts).taken(sum(counts)) == tuple(counts)
    assert Mixture(counts).taken(0) == (0,) * len(counts)


def test_one_source_is_read_straight():
    source, index = Mixture([5]).assign(np.array([4, 0]))
    assert (source.tolist(), index.tolist()) == ([0, 0], [4, 0])


@pytest.mark.parametrize("counts", [[], [-1, 3], [2**57, 2**57]])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="a mixture needs counts"):
        Mixture(counts)


@pytest.mark.parametrize("t", [-1, 6])
def test_rows_outside_are_refused(t):
    with pytest.raises(ValueError, match="mixture of 5 rows"):
        Mixture([2, 3]).taken(t)


def test_golden_vector():
    """Runs that are under way rely on this interleaving: a change needs a new name."""
    assert MIXTURE == "balanced-bresenham/1"
    source, _ = Mixture([6, 2, 4]).assign(np.arange(12))
    assert "".join(map(str, source)) == "020102020102"
    source, _ = Mixture([7, 1, 5, 3, 9, 2]).assign(np.arange(27))
    assert "".join(map(str, source)) == "403240425041304240524042304"
