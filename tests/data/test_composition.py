from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lrps.data.composition import Composition

COUNTS = st.lists(st.integers(1, 60), min_size=2, max_size=5)


@given(COUNTS, st.integers(1, 3))
def test_every_prefix_reads_a_prefix_of_every_part_and_is_near_its_share(counts, epochs):
    composition = Composition(counts)
    rows = epochs * composition.rows
    parts, positions = composition.deal(np.arange(rows))
    t = np.arange(1, rows + 1)
    for number, count in enumerate(counts):
        assert positions[parts == number].tolist() == list(range(epochs * count))
        taken = np.cumsum(parts == number)
        assert np.abs(taken - t * count / composition.rows).max() <= 1.5
        some = t[:: rows // 15 + 1]
        assert [composition.taken(int(p))[number] for p in some] == taken[some - 1].tolist()


@given(COUNTS, st.lists(st.integers(0, 1000), min_size=1, max_size=8))
def test_a_stream_that_is_read_piece_by_piece_is_the_same(counts, cuts):
    composition = Composition(counts)
    edges = sorted({0, 3 * composition.rows, *(cut % (3 * composition.rows) for cut in cuts)})
    pieces = [composition.deal(np.arange(a, b)) for a, b in pairwise(edges)]
    for whole, found in zip(composition.deal(np.arange(edges[-1])), zip(*pieces, strict=True), strict=True):
        assert np.array_equal(np.concatenate(found), whole)
