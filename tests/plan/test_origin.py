"""Start, fork or resume, from what the run directory holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrps.base.errors import CheckpointError, LineageError
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.paths.graph import Fork, Segment, SourceRange, TrainingPath
from lrps.paths.schedule import constant
from lrps.plan.origin import origin_of
from lrps.store import checkpoints
from lrps.store.layout import RunLayout

MAIN = TrainingPath("main", "main", None, 0, 20, constant(0, None, 1.0), (Segment(20, (SourceRange("v1", 0, 40),)),))
BRANCH = TrainingPath(
    *("branch-v1", "branch", Fork("main", 10, "reset"), 10, 20),
    constant(10, 20, 1.0),
    (Segment(10, (SourceRange("v1", 20, 20),)),),
)


@pytest.fixture
def run(tmp_path: Path) -> RunLayout:
    return RunLayout(tmp_path)


def save(run: RunLayout, name: str, step: int, pinned: bool = False) -> Path:
    layout = run.path(name)
    temporary = checkpoints.begin(layout.checkpoints, step)
    (temporary / "data").write_bytes(b"weights")
    saved = checkpoints.publish(temporary, step, {"data": checkpoints.fsync_and_hash(temporary / "data")}, {})
    if pinned:
        checkpoints.pin(saved, layout.branch_points)
    return saved.directory


def test_a_new_path_starts_from_the_initial_weights(run: RunLayout) -> None:
    origin = origin_of(MAIN, run)
    assert (origin.verb, origin.step, origin.checkpoint) == ("start", 0, None)
    assert str(origin) == "from the initial weights"


def test_a_state_from_elsewhere_is_what_only_a_path_without_a_parent_starts_from(run: RunLayout) -> None:
    elsewhere = checkpoints.open_checkpoint(save(RunLayout(run.run_dir / "other"), "main", 480))
    origin = origin_of(MAIN, run, elsewhere)
    assert (origin.verb, origin.step, origin.checkpoint) == ("start", 0, elsewhere), "steps count from 0"
    assert str(origin) == f"from the state in {elsewhere.directory}"
    save(run, "main", 10, pinned=True)
    assert str(origin_of(MAIN, run, elsewhere)) == "resumed from main at step 10"
    assert str(origin_of(BRANCH, run, elsewhere)) == "forked from main at step 10, optimizer reset"


def test_from_a_state_of_another_optimizer_only_the_weights_are_taken(run: RunLayout) -> None:
    layout = RunLayout(run.run_dir / "other").path("main")
    for kept, identity in (("adamw", {}), ("lion", {"optimizer": "lion"})):
        temporary = checkpoints.begin(layout.checkpoints, len(kept))
        (temporary / "data").write_bytes(b"weights")
        files = {"data": checkpoints.fsync_and_hash(temporary / "data")}
        elsewhere = checkpoints.publish(temporary, len(kept), files, identity)
        for kind in ("adamw", "muon", "lion"):
            origin = origin_of(MAIN, run, elsewhere, optimizer=kind)
            assert origin.optimizer == ("carry" if kind == kept else "reset")
            reset = "" if kind == kept else ", optimizer reset"
            assert str(origin) == f"from the state in {elsewhere.directory}{reset}"


def test_a_begun_path_resumes_from_its_newest_checkpoint(run: RunLayout) -> None:
    save(run, "main", 5)
    save(run, "main", 10, pinned=True)
    assert str(origin_of(MAIN, run)) == "resumed from main at step 10"


def test_a_pin_serves_when_the_periodic_checkpoints_are_gone(run: RunLayout) -> None:
    directory = save(run, "main", 10, pinned=True)
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
    assert origin_of(MAIN, run).step == 10


def test_a_damaged_checkpoint_is_skipped_with_the_reason(run: RunLayout) -> None:
    save(run, "main", 5)
    damaged = save(run, "main", 10)
    (damaged / "data").write_bytes(b"weightz")
    assert origin_of(MAIN, run).step == 10, "nothing is read"
    origin = origin_of(MAIN, run, damaged={damaged: "step-00000010/data is damaged"})
    assert origin.step == 5
    assert [(each.directory, str(each)) for each in origin.skipped] == [(damaged, "step-00000010/data is damaged")]


def test_a_fork_point_that_is_incomplete_is_told_with_its_own_way_out(run: RunLayout) -> None:
    (save(run, "main", 10) / "data").unlink()
    save(run, "main", 20)
    with pytest.raises(
        LineageError, match="data is missing or not 7 bytes long; move it out of the run and fetch"
    ) as told:
        origin_of(BRANCH, run)
    assert "alpha" not in str(told.value)


def test_only_damaged_checkpoints_never_start_afresh(run: RunLayout) -> None:
    damaged = save(run, "main", 10)
    with pytest.raises(
        CheckpointError, match="no intact checkpoint to resume (.|\n)*is damaged(.|\n)*another plan `name`"
    ):
        origin_of(MAIN, run, damaged={damaged: "data is damaged"})


def test_vanished_checkpoints_never_start_afresh(run: RunLayout) -> None:
    writer = LedgerWriter(run.path("main").ledger)
    writer.append("start", 0, Counters(), format=FORMAT)
    assert origin_of(MAIN, run).verb == "start", "an attempt that died before its first checkpoint"
    writer.append("checkpoint", 5, Counters(steps=5), bytes=1)
    with pytest.raises(CheckpointError, match="its ledger says that step 5 was saved, but no checkpoint is there"):
        origin_of(MAIN, run)


def test_a_branch_forks_from_the_parent_and_then_resumes_itself(run: RunLayout) -> None:
    save(run, "main", 10, pinned=True)
    save(run, "main", 20)
    origin = origin_of(BRANCH, run)
    assert (origin.verb, origin.step, origin.optimizer) == ("fork", 10, "reset")
    assert str(origin) == "forked from main at step 10, optimizer reset"
    save(run, "branch-v1", 15)
    origin = origin_of(BRANCH, run)
    assert (origin.verb, origin.step, origin.optimizer) == ("resume", 15, "carry"), "reset once, at the fork"


def test_a_parent_that_is_not_there_yet_is_named(run: RunLayout) -> None:
    with pytest.raises(LineageError, match="branch-v1 forks from main at step 10(.|\n)*train main first"):
        origin_of(BRANCH, run)


def test_a_parent_that_has_passed_the_fork_is_told_with_the_way_out(run: RunLayout) -> None:
    save(run, "main", 15)
    with pytest.raises(LineageError, match="has passed that step without a branch point(.|\n)*beyond step 15"):
        origin_of(BRANCH, run)
