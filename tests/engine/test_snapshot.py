"""A copy that the next step does not reach."""

from __future__ import annotations

import pytest
import torch

from lrps.base.errors import CheckpointError
from lrps.engine.fragments import Fragments
from lrps.engine.snapshot import Snapshot


def fragments(*values):
    """Disjoint views of one memory, as an engine gives them."""
    flat = torch.tensor(values)
    return Fragments("file", {"a": flat[:2], "b": flat[2:]}, {"adam_step": values[0]})


def test_a_copy_is_what_the_state_was():
    live = fragments(1.0, 2.0, 3.0)
    copy = Snapshot(live).take(live)
    live.tensors["a"].zero_()
    assert {key: tensor.tolist() for key, tensor in copy.tensors.items()} == {"a": [1.0, 2.0], "b": [3.0]}
    assert (copy.file, copy.facts) == (live.file, live.facts)


def test_the_memory_is_used_again():
    snapshot = Snapshot(fragments(0.0, 0.0, 0.0))
    first = snapshot.take(fragments(1.0, 2.0, 3.0))
    where = {key: tensor.data_ptr() for key, tensor in first.tensors.items()}
    second = snapshot.take(fragments(4.0, 5.0, 6.0))
    assert {key: tensor.data_ptr() for key, tensor in second.tensors.items()} == where
    assert [*second.tensors["a"].tolist(), *second.tensors["b"].tolist()] == [4.0, 5.0, 6.0]
    assert second.facts == {"adam_step": 4.0}


def test_a_copy_is_written_like_the_state(tmp_path):
    live = fragments(1.0, 2.0, 3.0)
    (tmp_path / "copy").mkdir()
    (one,), (other,) = live.write(tmp_path), Snapshot(live).take(live).write(tmp_path / "copy")
    assert one.read_bytes() == other.read_bytes()


def test_no_memory_is_told_with_the_way_out():
    endless = torch.zeros(1).expand(2**60)
    with pytest.raises(CheckpointError, match=r"no host memory for a copy of .* GB .* checkpoint.asynchronous: false"):
        Snapshot(Fragments("file", {"a": endless}, {}))
