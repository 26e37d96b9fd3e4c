"""Rank 0 puts the files of a path in order before an attempt; test_job.py covers whole jobs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lrps.base.errors import CheckpointError, LineageError
from lrps.paths.graph import Segment, SourceRange, TrainingPath
from lrps.paths.schedule import constant
from lrps.store import checkpoints
from lrps.store.checkpoints import Checkpoint, complete_checkpoints
from lrps.store.layout import PathLayout
from lrps.train.path_start import claim, clear_leftovers, pin_saved


@pytest.fixture
def layout(tmp_path: Path) -> PathLayout:
    return PathLayout(tmp_path / "main")


def save(layout: PathLayout, step: int) -> Checkpoint:
    temporary = checkpoints.begin(layout.checkpoints, step)
    (temporary / "data").write_bytes(b"weights")
    return checkpoints.publish(temporary, step, {"data": checkpoints.fsync_and_hash(temporary / "data")}, {})


def test_checkpoints_without_an_identity_are_adopted_by_no_path(layout: PathLayout) -> None:
    path = TrainingPath("main", "main", None, 0, 4, constant(0, 4, 1e-3), (Segment(4, (SourceRange("v1", 0, 8),)),))
    save(layout, 2)
    with pytest.raises(LineageError, match=r"has checkpoints but no path\.json"):
        claim(layout, path, {})
    assert not layout.path_json.exists()


def test_what_lies_beyond_the_state_that_a_path_goes_on_from_is_not_pinned(layout: PathLayout) -> None:
    for step in (5, 8, 10, 12):
        save(layout, step)
    pin_saved(layout, (5, 10, 12), 10, print)
    assert [pinned.step for pinned in complete_checkpoints(layout.branch_points)] == [5, 10]


def test_a_state_that_is_intact_and_cannot_be_kept_ends_the_attempt(
    layout: PathLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(layout, 5)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CheckpointError, match="cannot pin .*free disk space"):
        pin_saved(layout, (5,), 10, print)


def test_a_leftover_that_cannot_be_removed_is_told_only(layout: PathLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    left, told = checkpoints.begin(layout.checkpoints, 7), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "rmtree", lambda *_: (_ for _ in ()).throw(OSError(30, "read-only")))
        clear_leftovers(layout, told.append)
    assert left.exists()
    assert "checkpoints/.tmp-step-00000007, left by an interrupted save, stays: cannot remove" in told[0]
    clear_leftovers(layout, told.append)
    assert not left.exists()
