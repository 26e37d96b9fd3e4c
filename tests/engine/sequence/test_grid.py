"""The grid of ranks: groups share rows, and the parts of a group are the whole rows."""

from __future__ import annotations

import pytest

from lrps.engine.sequence.grid import RankGrid


@pytest.mark.parametrize(("ranks", "parts"), [(1, 1), (4, 1), (4, 2), (6, 3), (8, 8)])
def test_groups_and_parts(ranks: int, parts: int) -> None:
    grids = [RankGrid(rank, ranks, parts) for rank in range(ranks)]
    assert {grid.data_ranks for grid in grids} == {ranks // parts}
    assert [(grid.data_rank, grid.part) for grid in grids] == [
        (group, part) for group in range(ranks // parts) for part in range(parts)
    ]
    columns = [list(range(24))[grid.columns(24)] for grid in grids[:parts]]
    assert [token for each in columns for token in each] == list(range(24))
    assert {len(each) for each in columns} == {24 // parts}
