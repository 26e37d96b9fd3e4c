"""The index that ranks agree on: which ranks share a file, and what a state that one process has as a whole is."""

from __future__ import annotations

import pytest
import torch

from lrps.base.errors import CheckpointError
from lrps.engine.fragments import FragmentKey, Fragments
from lrps.engine.state_files.agreement import agree_on_index, index_alone, ranks_in_files
from lrps.store.fragments.layouts import Shares
from lrps.store.fragments.ranges import StoredState

WEIGHTS = StoredState("elementwise", "F32")


@pytest.mark.parametrize(
    ("hosts", "most", "files"),
    [
        ("aaaa", "host", (4,)),
        ("aabb", "host", (2, 2)),
        ("aaab", "host", (3, 1)),
        ("abab", "host", (1, 1, 1, 1)),  # Ranks that do not follow one another share no file.
        ("aaaa", 1, (1, 1, 1, 1)),
        ("aaaa", 3, (3, 1)),
        ("aaab", 2, (2, 1, 1)),
        ("aabb", 4, (2, 2)),  # Ranks of several hosts share none either.
        ("aaaa", 9, (4,)),
    ],
)
def test_ranks_of_one_host_share_a_file(hosts: str, most: int | str, files: tuple[int, ...]) -> None:
    assert ranks_in_files(hosts, most) == files  # type: ignore[arg-type]


def fragments(*pieces: tuple[str, str, int, int]) -> Fragments:
    """Fragments of a model with parameters a of 4 and b of 2 elements: (state, name, start, stop) of each."""
    tensors = {FragmentKey(state, name, start): torch.zeros(stop - start) for state, name, start, stop in pieces}
    return Fragments(tensors, {"a": [2, 2], "b": [2]}, dict.fromkeys(("fp32", "momentum"), WEIGHTS), {"adam_step": 1.0})


WHOLE = (("fp32", "a", 0, 4), ("fp32", "b", 0, 2))


def test_a_rank_alone_has_its_share_of_every_parameter() -> None:
    own = fragments(*WHOLE, ("momentum", "a", 0, 4), ("momentum", "b", 0, 2))
    index = agree_on_index(own)
    assert index == index_alone(own)
    assert index.layouts["fp32"] is index.layouts["momentum"]
    assert '"rule":"shares","of":1}' in index.text()


def test_a_state_that_only_some_parameters_have_lists_them() -> None:
    index = agree_on_index(fragments(*WHOLE, ("momentum", "b", 0, 2)))
    assert index.layouts["momentum"] == Shares(1, (4, 2), (1,))
    assert '"of":1,"parameters":[1]}' in index.text()


def test_pieces_in_another_order_or_cut_are_listed() -> None:
    index = agree_on_index(fragments(("fp32", "a", 0, 3), ("fp32", "a", 3, 4), ("fp32", "b", 0, 2)))
    assert '"pieces":[[0,0,3,0],[0,3,4,0],[1,0,2,0]]' in index.text()


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([("fp32", "a", 0, 3), ("fp32", "b", 0, 2)], "fp32 of a: elements 3 to 4 are missing"),
        ([("fp32", "b", 0, 2)], "fp32 of a: elements 0 to 4 are missing"),
        ([*WHOLE, ("momentum", "a", 1, 4)], "momentum of a: elements 0 to 1 are missing"),
    ],
)
def test_a_state_with_a_hole_is_never_written(pieces: list[tuple[str, str, int, int]], told: str) -> None:
    with pytest.raises(CheckpointError, match=f"the ranks do not have the state once: {told}"):
        agree_on_index(fragments(*pieces))
