"""Rows of the parts of mixtures: exact, proportional, and never more than there is."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import DataError
from lrps.paths.part_share import PartSize, count_parts, largest_mixture, share_parts

weights = st.integers(1, 10**6).map(lambda thousandths: Fraction(thousandths, 1000))
parts = st.lists(
    st.tuples(weights, st.integers(1, 10**9), st.sampled_from(["0.5", "1", "1.5", "4"])), min_size=2, max_size=4
).map(
    lambda found: [PartSize(f"v1.p{i}", weight, rows, Fraction(e)) for i, (weight, rows, e) in enumerate(found)],
)


@given(parts, st.integers(0, 2**50))
def test_counts_are_exact_and_within_a_row_of_their_shares(sizes: list[PartSize], rows: int) -> None:
    counts, whole = count_parts(sizes, rows), sum(size.weight for size in sizes)
    assert sum(counts) == rows
    assert all(abs(count - rows * size.weight / whole) < 1 for size, count in zip(sizes, counts, strict=True))


@given(parts, weights)
def test_only_the_ratio_of_the_weights_counts(sizes: list[PartSize], factor: Fraction) -> None:
    scaled = [PartSize(size.name, size.weight * factor, size.rows, size.epochs) for size in sizes]
    assert largest_mixture(scaled) == largest_mixture(sizes)
    assert count_parts(scaled, 12345) == count_parts(sizes, 12345)


@given(parts)
def test_the_largest_mixture_fits_and_one_more_row_does_not(sizes: list[PartSize]) -> None:
    rows, whole = largest_mixture(sizes), sum(size.weight for size in sizes)
    counts = count_parts(sizes, rows)
    assert all(count <= (size.limit or 0) for size, count in zip(sizes, counts, strict=True))
    assert any((rows + 1) * size.weight / whole > (size.limit or 0) for size in sizes)
    if all(counts) and all(count_parts(sizes, rows + 1)):
        assert share_parts("version v1", sizes, None) == share_parts("version v1", sizes, rows)
        with pytest.raises(DataError, match="would be read more than"):
            share_parts("version v1", sizes, rows + 1)


def test_a_part_that_would_repeat_is_refused_and_the_epochs_that_it_names_suffice() -> None:
    web, code = PartSize("v1.web", Fraction(3), 900), PartSize("v1.code", Fraction(1), 110)
    message = (
        r"version v1: part v1.code would be read more than once: its share of 1000 sequences is 250, its shards have "
        r"110; to repeat it, give the part `epochs: 2.28`; .*`tokens` of version v1 to at most 440 sequences"
    )
    with pytest.raises(DataError, match=message):
        share_parts("version v1", [web, code], 1000)
    repeated = PartSize("v1.code", Fraction(1), 110, Fraction("2.28"))
    shares = share_parts("version v1", [web, repeated], 1000)
    assert [(share.name, share.count, share.rows, share.epochs) for share in shares] == [
        ("v1.web", 750, 900, Fraction(5, 6)),
        ("v1.code", 250, 110, Fraction(25, 11)),
    ]
    assert [share.weight for share in shares] == [Fraction(3, 4), Fraction(1, 4)]
    assert sum(share.count for share in share_parts("version v1", [web, code], 440)) == 440


def test_a_part_without_a_single_row_is_refused() -> None:
    parts = [PartSize("v1.web", Fraction(1), 10), PartSize("v1.code", Fraction(1, 1000), 10)]
    with pytest.raises(DataError, match=r"the share of part v1.code is less than one of its 10 sequences"):
        share_parts("version v1", parts, None)


def test_before_the_shards_exist_the_wanted_rows_are_shared() -> None:
    parts = [PartSize("v1.web", Fraction("0.8"), None), PartSize("v1.code", Fraction("0.2"), None, Fraction(4))]
    web, code = share_parts("version v1", parts, 1000)
    assert (web.count, web.rows, code.count, code.rows) == (800, 800, 200, 50)
