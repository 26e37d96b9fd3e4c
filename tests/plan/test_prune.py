"""`lrps prune`: what is needed stays, whatever the run directory looks like; what goes frees what it says."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import LineageError
from lrps.base.files import atomic_write_json
from lrps.base.locks import path_lock
from lrps.config.models import Config
from lrps.paths.amendments import Amendment
from lrps.plan.plan import Plan, make_plan
from lrps.plan.prune import PruneCandidate, prune_run, references
from lrps.plan.rewind import rewind
from lrps.report.prune_text import print_prune, prune_document
from lrps.store import checkpoints
from lrps.store.checkpoints import Checkpoint, complete_checkpoints, find, pin, verify_checkpoint
from lrps.store.newest import newest_intact
from support.synthetic_run import plan_of, train
from support.values import config_values

SIZE = 5000
KEEP = {"every_steps": 10, "keep_last": 2}


def small_plan(root: Path, name: str = "small", **changes: Any) -> Plan:
    return make_plan(Config.model_validate(config_values(name=name, runs=str(root), checkpoint=KEEP, **changes)))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return small_plan(tmp_path)


def save(plan: Plan, name: str, *steps: int) -> list[Checkpoint]:
    layout = plan.layout.path(name)
    layout.directory.mkdir(parents=True, exist_ok=True)
    atomic_write_json(layout.path_json, plan.identity(plan.graph.by_name[name]))
    saved = []
    for step in steps:
        temporary = checkpoints.begin(layout.checkpoints, step)
        (temporary / "data").write_bytes(bytes(SIZE))
        files = {"data": checkpoints.fsync_and_hash(temporary / "data")}
        saved.append(checkpoints.publish(temporary, step, files, {"path": name}))
    return saved


def steps(plan: Plan, name: str) -> list[int]:
    return [checkpoint.step for checkpoint in complete_checkpoints(plan.layout.path(name).checkpoints)]


def by_step(found: tuple[PruneCandidate, ...], place: str = "checkpoints") -> dict[int | None, PruneCandidate]:
    return {each.step: each for each in found if each.directory.parent.name == place}


def used(root: Path) -> int:
    """Bytes of all files below `root`, each inode once."""
    return sum({f.stat().st_ino: f.stat().st_size for f in root.rglob("*") if f.is_file()}.values())


def damage(checkpoint: Checkpoint) -> None:
    file = checkpoint.directory / "data"
    file.chmod(0o644)
    file.write_bytes(b"\x01" + bytes(SIZE - 1))


def test_what_a_fork_or_a_release_needs_is_told(plan: Plan) -> None:
    needs = references(plan, {})
    assert needs["main"] == {
        40: "fork of branch-v1",
        140: "fork of branch-v2",
        240: "fork of branch-v3",
        340: "fork of branch-v4",
    }
    assert needs["branch-v2"] == {200: "release v2"}
    assert needs["ptfs-v1"] == {100: "fork of cpt-v2, release v1"}


def test_it_removes_what_it_said_and_frees_what_it_said(plan: Plan) -> None:
    save(plan, "main", 30, 40, 50, 60, 70)
    before = used(plan.config.run_dir)
    said = prune_run(plan, dry_run=True)
    assert used(plan.config.run_dir) == before
    assert not (plan.layout.path("main").directory / "lock").exists()
    did = prune_run(plan, dry_run=False)
    assert did == said
    assert {step: found.reason for step, found in by_step(did.found).items()} == {
        30: "nothing needs it",
        40: "fork of branch-v1",
        50: "nothing needs it",
        60: "one of the newest 2",
        70: "the newest: the path resumes from it",
    }
    assert steps(plan, "main") == [40, 60, 70], "40 is not pinned: a crash came before"
    (plan.layout.path("main").directory / "lock").unlink()
    assert before - used(plan.config.run_dir) == did.freed_bytes > 2 * SIZE
    assert prune_run(plan, dry_run=False).freed_bytes == 0


def test_a_pin_stays_and_what_it_shares_frees_nothing(plan: Plan) -> None:
    layout = plan.layout.path("main")
    (pinned,) = save(plan, "main", 20)  # of another plan: no fork of this one is there
    pin(pinned, layout.branch_points)
    save(plan, "main", 50, 60, 70)
    pruning = prune_run(plan, dry_run=False)
    assert steps(plan, "main") == [60, 70]
    assert by_step(pruning.found)[20].goes
    assert by_step(pruning.found)[20].freed_bytes == 0
    assert by_step(pruning.found, "branch_points")[20].reason == "pinned; no path of this plan needs it"
    assert pruning.freed_bytes == by_step(pruning.found)[50].freed_bytes > SIZE
    verify_checkpoint(find(layout, 20))


def test_without_hard_links_what_a_pin_copied_is_freed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = plan.layout.path("main")
    (copied,) = save(plan, "main", 20)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "another file system")))
        pin(copied, layout.branch_points)
    save(plan, "main", 60, 70)
    assert prune_run(plan, dry_run=False).freed_bytes > SIZE
    verify_checkpoint(find(layout, 20))


def test_a_finished_path_keeps_its_last_state_and_multiples(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    save(plan, "ptfs-v1", 50, 80, 90, 100)
    prune_run(plan, dry_run=False)
    assert steps(plan, "ptfs-v1") == [100]
    values = config_values(runs=str(tmp_path), checkpoint={**KEEP, "keep_every_steps": 50})
    keeping = make_plan(Config.model_validate(values))
    save(keeping, "ptfs-v1", 50, 80, 90, 100)
    prune_run(keeping, dry_run=False)
    assert steps(keeping, "ptfs-v1") == [50, 100]


def test_the_newest_intact_one_outlives_newer_damaged_ones(plan: Plan) -> None:
    *_, last = save(plan, "main", 50, 60, 70, 80)
    damage(last)
    pruning = prune_run(plan, dry_run=False)
    assert steps(plan, "main") == [60, 70, 80], "the damaged one is listed, not removed"
    assert by_step(pruning.found)[80].reason.startswith("step-00000080/data is damaged")
    assert newest_intact(plan.layout.path("main").checkpoints)[0].step == 70  # type: ignore[union-attr]


def test_damaged_ones_and_leftovers_go_with_a_flag_where_something_better_is_there(plan: Plan) -> None:
    layout = plan.layout.path("main")
    first, _, third = save(plan, "main", 40, 60, 80)
    for torn in (first, third):
        (torn.directory / "data").unlink()
    half = checkpoints.begin(layout.checkpoints, 90)
    (half / "data").write_bytes(bytes(SIZE))
    assert not any(found.goes for found in prune_run(plan, dry_run=False).found)
    assert half.exists()
    pruning = prune_run(plan, dry_run=False, damaged=True)
    assert not half.exists()
    assert not third.directory.exists()
    assert first.directory.exists(), "branch-v1 forks there"
    assert by_step(pruning.found)[40].reason.endswith("(fork of branch-v1)")
    (layout.checkpoints / "step-00000060" / "data").unlink()
    prune_run(plan, dry_run=False, damaged=True)
    assert (layout.checkpoints / "step-00000060").exists(), "nothing is thrown away for nothing"


def test_damaged_reads_every_byte_and_tells_what_stays_all_the_same(plan: Plan) -> None:
    layout = plan.layout.path("main")
    saved = {checkpoint.step: checkpoint for checkpoint in save(plan, "main", 40, 50, 60, 70, 140)}
    (copied,) = save(plan, "main", 130)
    shutil.copytree(copied.directory, layout.branch_points / copied.directory.name)
    pin(saved[140], layout.branch_points)
    for step in (40, 60):
        damage(saved[step])
    damage(checkpoints.open_checkpoint(layout.branch_points / copied.directory.name))
    told = by_step(prune_run(plan, dry_run=True).found)
    assert "damaged" not in "".join(found.reason for found in told.values()), "only the newest was read"
    pruning = prune_run(plan, dry_run=True, damaged=True)
    there = by_step(pruning.found)
    assert (there[40].goes, there[40].reason) == (
        False,
        "step-00000040/data is damaged: its SHA-256 is not the manifest's (fork of branch-v1)",
    )
    assert (there[60].goes, there[60].reason) == (
        True,
        "step-00000060/data is damaged: its SHA-256 is not the manifest's",
    )
    pins = by_step(pruning.found, "branch_points")
    assert (pins[130].goes, pins[130].reason.endswith("the manifest's (pinned)")) == (False, True)
    assert (pins[140].goes, pins[140].reason) == (False, "fork of branch-v2")
    prune_run(plan, dry_run=False, damaged=True)
    assert steps(plan, "main") == [40, 130, 140]


def test_what_was_set_aside_goes_with_a_flag_only(plan: Plan) -> None:
    layout = plan.layout.path("main")
    _, second = save(plan, "main", 60, 70)
    aside = checkpoints.set_aside(second.directory)
    before = used(plan.config.run_dir)
    for damaged in (False, True):
        (found,) = (each for each in prune_run(plan, dry_run=True, damaged=damaged).found if each.directory == aside)
        assert (found.goes, found.reason) == (damaged, "damaged; set aside when the path was resumed")
    pruning = prune_run(plan, dry_run=False, damaged=True)
    assert not aside.exists()
    (layout.directory / "lock").unlink()
    assert before - used(plan.config.run_dir) == pruning.freed_bytes > SIZE


def test_what_is_young_stays_and_says_so(tmp_path: Path) -> None:
    values = config_values(runs=str(tmp_path), checkpoint={**KEEP, "keep_hours": 2})
    plan = make_plan(Config.model_validate(values))
    for step, checkpoint in zip((30, 50, 60, 70, 80), save(plan, "main", 30, 50, 60, 70, 80), strict=True):
        if step in (30, 60):
            os.utime(checkpoint.directory / "manifest.json", (0, 0))
    told = by_step(prune_run(plan, dry_run=False).found)
    assert told[50].reason == "younger than 2 h"
    assert told[70].reason == "one of the newest 2"
    assert steps(plan, "main") == [50, 70, 80]


def test_what_is_trained_now_is_left_alone(plan: Plan) -> None:
    save(plan, "main", 50, 60, 70)
    save(plan, "ptfs-v1", 70, 80, 90)
    with path_lock(plan.layout.path("main").directory):
        for dry_run in (True, False):
            pruning = prune_run(plan, dry_run=dry_run, damaged=True)
            (main,) = [found for found in pruning.found if found.path == "main"]
            assert (main.goes, main.step, main.reason) == (False, None, "being trained now: its trainer prunes it")
    assert steps(plan, "main") == [50, 60, 70]
    assert steps(plan, "ptfs-v1") == [80, 90]


def test_paths_that_the_plan_does_not_know_stay_and_so_does_what_they_forked_from(plan: Plan, tmp_path: Path) -> None:
    save(plan, "branch-v2", 170, 180, 190, 200)
    save(plan, "main", 130, 140, 150, 160, 170)
    without = small_plan(tmp_path, paradigms={"ptfs": {}, "cpt": {}})
    assert {found.reason for found in prune_run(without, dry_run=False).found} == {
        "not a path of this plan: left alone"
    }
    save_as = plan.layout.path("other")
    shutil.copytree(plan.layout.path("branch-v2").directory, save_as.directory)
    values = json.loads(save_as.path_json.read_text())
    values["path"]["parent"]["step"] = values["path"]["start"] = 130
    values["path"]["stop"] -= 10
    save_as.path_json.write_text(json.dumps(values))
    fresh = small_plan(tmp_path)
    pruning = prune_run(fresh, dry_run=False)
    assert steps(fresh, "main") == [130, 140, 160, 170]
    assert by_step(pruning.found)[130].reason == "fork of other"


def test_a_path_of_another_plan_under_the_same_name_is_left_alone(plan: Plan, tmp_path: Path) -> None:
    save(plan, "ptfs-v1", 50, 60, 70)
    other = small_plan(tmp_path, seed=8)
    (found,) = prune_run(other, dry_run=False).found
    assert found.reason.endswith("was made by another plan: left alone")
    assert steps(plan, "ptfs-v1") == [50, 60, 70]


def test_nothing_is_removed_while_a_path_json_cannot_be_read(plan: Plan, tmp_path: Path) -> None:
    save(plan, "main", 50, 60, 70)
    save(plan, "branch-v2", 190)
    plan.layout.path("branch-v2").path_json.write_text("{")
    with pytest.raises(LineageError, match=r"branch-v2/path\.json cannot be read, so what it forks from is unknown"):
        prune_run(small_plan(tmp_path), dry_run=False)
    assert steps(plan, "main") == [50, 60, 70]


@settings(max_examples=25, deadline=None)
@given(
    present=st.sets(st.integers(1, 36).map(lambda n: 10 * n), min_size=1, max_size=9),
    broken=st.sets(st.integers(1, 36).map(lambda n: 10 * n), max_size=6),
    pinned=st.sets(st.sampled_from([40, 140, 240]), max_size=2),
    damaged=st.booleans(),
)
def test_whatever_is_there_nothing_needed_and_no_newest_intact_one_goes(
    present: set[int], broken: set[int], pinned: set[int], damaged: bool
) -> None:
    with tempfile.TemporaryDirectory() as root:
        plan = small_plan(Path(root))
        layout = plan.layout.path("main")
        for checkpoint in save(plan, "main", *present):
            if checkpoint.step in pinned:
                pin(checkpoint, layout.branch_points)
            elif checkpoint.step in broken:
                damage(checkpoint)
        needed = present & set(plan.graph.branch_points("main"))
        newest, _ = newest_intact(layout.checkpoints, layout.branch_points)
        prune_run(plan, dry_run=False, damaged=damaged)
        assert newest_intact(layout.checkpoints, layout.branch_points)[0] == newest
        left = {int(directory.name[5:]) for directory in layout.checkpoints.glob("step-*")}
        assert needed <= left | {found.step for found in complete_checkpoints(layout.branch_points)}
        assert left <= present


def test_the_table_and_the_json_say_the_same(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    save(plan, "main", 40, 50, 60, 70)
    pruning = prune_run(plan, dry_run=True)
    document = prune_document(plan, pruning, dry_run=True)
    print_prune(plan, pruning, dry_run=True)
    told = capsys.readouterr().out
    assert "main/checkpoints/step-00000040  stays   fork of branch-v1" in told
    assert "main/checkpoints/step-00000050  goes    nothing needs it" in told
    assert "1 of 4 would go and free 5." in told
    assert [each["goes"] for each in document["checkpoints"]] == [False, True, False, False]
    assert document["freed_bytes"] == sum(each["freed_bytes"] for each in document["checkpoints"] if each["goes"])


def test_states_that_a_rewind_abandoned_are_listed_and_need_no_state_of_the_new_history(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [10, 12], {"path-switching": {"alpha": 0.6}})
    train(plan)
    rewind(plan, "main", Amendment(4, peak_lr=0.5))
    train(dataclasses.replace(plan), names=["main"])
    pruning = prune_run(dataclasses.replace(plan), dry_run=False)
    main = {str(each.directory.relative_to(plan.layout.run_dir)): each for each in pruning.found if each.path == "main"}
    old, new = (main[f"main/{place}branch_points/step-00000015"] for place in ("abandoned/1/", ""))
    assert (old.goes, old.reason.partition(";")[0]) == (False, "abandoned by amendment 1")
    assert "fork of branch-v2" not in new.reason, "branch-v2 forked from the older history"
    assert old.directory.is_dir()
