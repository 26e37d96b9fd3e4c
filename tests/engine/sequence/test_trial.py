"""The trial step of shared rows: it finds wrong gradients, and leaves nothing behind."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_it_finds_gradients_that_are_divided_by_too_many_ranks(matrix):
    found = matrix[2]["trial_step"]
    assert found["fine"] == ["nothing"] * 2
    assert len(set(found["wrongly divided"])) == 1
    assert "engine.sequence_parallel 2: a small llama model has the gradient norm" in found["wrongly divided"][0]


def test_it_leaves_nothing_behind(matrix):
    found = matrix[2]["trial_step"]
    assert found["kept"] == [True, True]
    assert found["before"] == found["after"]
    assert "sequence_parallel" not in found["facts"]
