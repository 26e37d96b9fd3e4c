"""Rank 0 puts the files of a path in order before an attempt; test_job.py covers whole jobs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lrps.base.errors import CheckpointError, LineageError
from lrps.config.models import Config
from lrps.data.stream import PathData
from lrps.paths.graph import Segment, SourceRange, TrainingPath
from lrps.paths.increments import Increment
from lrps.paths.paradigms.compile import compile_graph
from lrps.paths.path_digest import lineage_digest
from lrps.paths.schedule import constant
from lrps.plan.origin import Origin, origin_of
from lrps.plan.plan import Plan
from lrps.store import checkpoints
from lrps.store.checkpoints import Checkpoint, complete_checkpoints
from lrps.store.conventions import NEWEST
from lrps.store.identity import path_identity
from lrps.store.layout import PathLayout
from lrps.store.marks import MARK, read_mark
from lrps.train.path_start import check_origin, claim, clear_leftovers, pin_saved
from support.synthetic_run import BATCH, plan_of, source_of, train

MakeConfig = Callable[..., Config]


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


def marks(config: Config, layout: PathLayout, versions: int = 4) -> str | None:
    """The mark that the directory of the main path has once a plan claims it."""
    increments = [Increment(f"v{k}", 200, 100) for k in range(1, versions + 1)]
    main = compile_graph(config, increments).by_name["main"]
    claim(layout, main, path_identity(main, config, "tok", {}, NEWEST))
    return read_mark(layout.path_json)


def test_a_path_keeps_its_mark_while_it_is_the_same_path(layout: PathLayout, make_config: MakeConfig) -> None:
    layout.directory.mkdir()
    first = marks(make_config(), layout, versions=2)
    assert first is not None
    assert marks(make_config(), layout, versions=3) == first, "it saved nothing, and begins again"
    save(layout, 2)
    assert marks(make_config(), layout, versions=4) == first, "it has grown"


def test_another_path_gets_another_mark(layout: PathLayout, make_config: MakeConfig) -> None:
    layout.directory.mkdir()
    first, replaced = marks(make_config(), layout), marks(make_config(seed=8), layout)
    shutil.rmtree(layout.directory)
    layout.directory.mkdir()
    assert len({first, replaced, marks(make_config(seed=8), layout), None}) == 4


def test_a_path_begun_without_a_mark_gets_none(layout: PathLayout, make_config: MakeConfig) -> None:
    layout.directory.mkdir()
    marks(make_config(), layout, versions=2)
    values = json.loads(layout.path_json.read_text())
    layout.path_json.write_text(json.dumps({key: value for key, value in values.items() if key != MARK}))
    assert marks(make_config(), layout, versions=2) is None
    save(layout, 2)
    assert marks(make_config(), layout, versions=4) is None
    assert json.loads(layout.path_json.read_text())["path"]["stop"] > values["path"]["stop"]


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


@pytest.mark.parametrize(
    ("trained", "name", "message"),
    [
        (["main"], "main", r"values than main has in this plan up to step 15: the learning rates;"),
        (["main"], "branch-v2", r"values than main has in this plan up to step 15: the learning rates;"),
        (["main", "branch-v2"], "branch-v2", r"up to step 22: the history of its parent, the learning rates;"),
    ],
    ids=["resume", "fork", "resumed fork"],
)
def test_a_state_of_other_rates_is_refused(trained: list[str], name: str, message: str, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [10, 12], {"path-switching": {"alpha": 0.6}, "cpt": {}})
    path = plan.graph.by_name[name]
    train(plan, names=trained)
    origin = origin_of(path, plan.layout)
    check(plan, path, origin)
    schedule = plan.config.schedule.model_copy(update={"peak_lr": 0.9})
    other = replace(plan, config=plan.config.model_copy(update={"schedule": schedule}))
    with pytest.raises(CheckpointError, match=message):
        check(other, other.graph.by_name[name], origin)


def check(plan: Plan, path: TrainingPath, origin: Origin) -> None:
    assert origin.checkpoint is not None
    *ancestors, _ = plan.graph.lineage(path)
    parent = lineage_digest(ancestors, path.start) if ancestors else None
    data = PathData(path.segments, {source: source_of(plan, source) for source in path.sources}, BATCH)
    check_origin(origin.checkpoint, origin, path, data, {plan.training_sha256}, parent)


def test_a_leftover_that_cannot_be_removed_is_told_only(layout: PathLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    left, told = checkpoints.begin(layout.checkpoints, 7), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.shutil, "rmtree", lambda *_: (_ for _ in ()).throw(OSError(30, "read-only")))
        clear_leftovers(layout, told.append)
    assert left.exists()
    assert "checkpoints/.tmp-step-00000007, left by an interrupted save, stays: cannot remove" in told[0]
    clear_leftovers(layout, told.append)
    assert not left.exists()
