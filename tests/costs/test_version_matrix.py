"""AR, FWT and BWT against a second implementation, on matrices with and without holes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.costs.version_matrix import VersionMatrix

SCORES = st.floats(-50, 700)


def matrix_of(values: Any, *holes: tuple[int, int]) -> VersionMatrix:
    """values[i][j]: the score after version i on the task of version j; NaN and holes were not measured."""
    names = [f"v{k + 1}" for k in range(len(values))]
    scores = {
        (names[i], names[j]): float(values[i][j])
        for i in range(len(names))
        for j in range(len(names))
        if not math.isnan(values[i][j]) and (i, j) not in holes
    }
    return VersionMatrix(names, names, scores)


def close(value: float | None, expected: float) -> bool:
    """None where numpy makes NaN of a missing term, or of no term."""
    return value is None if math.isnan(expected) else value == pytest.approx(expected, rel=1e-9, abs=1e-9)


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """A square matrix with some holes."""
    n = draw(st.integers(1, 6))
    cells = st.one_of(SCORES, SCORES, SCORES, st.just(math.nan))
    return np.array(draw(st.lists(st.lists(cells, min_size=n, max_size=n), min_size=n, max_size=n)))


@given(arrays(), st.lists(st.one_of(SCORES, st.just(math.nan)), min_size=6, max_size=6))
def test_the_change_since_row_0_is_that_of_the_newest_version_on_all_sets_so_far(a: Any, row_0: list[float]) -> None:
    matrix = matrix_of(a)
    initial = {name: score for name, score in zip(matrix.versions, row_0, strict=False) if not math.isnan(score)}
    matrix = replace(matrix, initial=initial)
    if matrix.newest is None:
        assert matrix.change_since_initial is None
        return
    last = matrix.versions.index(matrix.newest)
    changes = a[last, : last + 1] - np.array(row_0[: last + 1])
    assert (matrix.change_since_initial is None) == bool(np.isnan(changes).any())
    assert close(matrix.change_since_initial, changes.mean())


@given(arrays())
def test_the_means_are_the_papers(a: Any) -> None:
    matrix = matrix_of(a)
    whole = [t for t in range(len(a)) if not np.isnan(a[t, : t + 1]).any()]
    if not whole:
        assert (matrix.newest, matrix.average, matrix.forward_transfer, matrix.backward_transfer) == (None,) * 4
        return
    last = max(whole)
    a = a[: last + 1, : last + 1]  # a NaN that is left makes a mean of it NaN
    assert matrix.newest == f"v{last + 1}"
    assert close(matrix.average, a[-1].mean())
    transfers = (
        (np.diagonal(a, offset=1).mean(), (a[-1, :-1] - np.diagonal(a)[:-1]).mean()) if last else (math.nan,) * 2
    )
    assert close(matrix.forward_transfer, transfers[0])
    assert close(matrix.backward_transfer, transfers[1])


def test_by_hand() -> None:
    matrix = matrix_of([[10.0, 3.0, 0.0], [8.0, 20.0, 5.0], [4.0, 17.0, 30.0]])
    assert matrix.average == pytest.approx((4 + 17 + 30) / 3)
    assert matrix.forward_transfer == pytest.approx((3 + 5) / 2)
    assert matrix.backward_transfer == pytest.approx(((4 - 10) + (17 - 20)) / 2)


@given(arrays(), SCORES, st.integers(-3, 3))
def test_they_are_linear_and_a_constant_is_no_transfer_back(a: Any, shift: float, factor: int) -> None:
    one, other = matrix_of(a), matrix_of(a * factor + shift)
    for mean, constant in (("average", shift), ("forward_transfer", shift), ("backward_transfer", 0.0)):
        value = getattr(one, mean)
        assert close(getattr(other, mean), math.nan if value is None else value * factor + constant) or (
            getattr(other, mean) == pytest.approx(value * factor + constant, abs=1e-6)
        )


def test_holes_take_only_the_means_that_need_them() -> None:
    values = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]
    first_missing = matrix_of(values, (0, 0), (0, 1), (0, 2))
    assert (first_missing.newest, first_missing.average) == ("v3", 8.0)
    assert first_missing.forward_transfer is first_missing.backward_transfer is None
    assert matrix_of(values, (0, 1)).backward_transfer == (6 + 3) / 2
    assert matrix_of(values, (1, 1)).forward_transfer == (2 + 6) / 2
    assert matrix_of(values, (0, 2), (1, 0)).backward_transfer is not None, "cells that no mean needs"
    unfinished = matrix_of(values, (2, 1))
    assert (unfinished.newest, unfinished.average, unfinished.backward_transfer) == ("v2", 4.5, 3.0)


def test_versions_without_a_task_are_no_term() -> None:
    scores = {("v1", "v1"): 10.0, ("v2", "v1"): 9.0, ("v2", "v3"): 2.0, ("v3", "v1"): 6.0, ("v3", "v3"): 8.0}
    matrix = VersionMatrix(["v1", "v2", "v3"], ["v1", "v3"], scores)
    assert (matrix.average, matrix.forward_transfer, matrix.backward_transfer) == (7.0, 2.0, -4.0)
