"""What becomes of the files of a path when its job is run: after damage, among foreign states, with full disks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.audit.run import audit_run
from lrps.base.errors import CheckpointError, DataError, LineageError
from lrps.base.files import sha256_file
from lrps.base.locks import path_lock
from lrps.config.loader import load_config
from lrps.engine import checkpointing
from lrps.ledger.reader import read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.plan.tokenizer import check_tokenizer
from lrps.store import checkpoints
from lrps.store.checkpoints import complete_checkpoints, find, open_checkpoint, pin, verify_checkpoint
from lrps.store.copy.transfer import pull_run, push_run
from lrps.store.layout import PathLayout
from lrps.store.newest import newest_intact
from support.plain_engine import PlainEngine, before_steps, run

Make = Callable[..., Plan]


@pytest.fixture
def make(tiny_config: Path, tmp_path: Path) -> Make:
    """make("key=value", ...) -> the tiny plan with its run below tmp_path. Main's branch points: 8 and 28, its end."""
    return lambda *settings: make_plan(load_config(tiny_config, [f"runs={tmp_path / 'runs'}", *settings]))


def flip(checkpoint: checkpoints.Checkpoint) -> None:
    """One bit of the state, in the checkpoint and in whatever shares its files."""
    file = next(checkpoint.directory.glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def steps(directory: Path) -> list[int]:
    return [checkpoint.step for checkpoint in complete_checkpoints(directory)]


def starts(layout: PathLayout) -> list[tuple[str, int]]:
    return [(r.facts["origin"], r.step) for r in read_ledger(layout.ledger) if r.kind == "start"]


# Damage


def test_an_attempt_that_fails_before_its_first_step_is_recorded_with_its_time(make: Make) -> None:
    plan = make()
    main, branch = plan.layout.path("main"), plan.layout.path("branch-v1")
    assert run(plan, "main")
    sound = next(find(main, 8).directory.glob("*.safetensors")).read_bytes()
    flip(find(main, 8))
    with pytest.raises(CheckpointError, match="is damaged"):
        run(plan, "branch-v1")
    begun, failed = read_ledger(branch.ledger)
    assert (begun.kind, begun.step, begun.facts["origin"], begun.facts["device"]) == ("start", 8, "fork", "cpu")
    assert (failed.kind, failed.facts["error"].split(":")[0]) == ("failure", "DamagedCheckpointError")
    assert failed.counters.allocated_seconds > 0
    next(find(main, 8).directory.glob("*.safetensors")).write_bytes(sound)
    assert run(plan, "branch-v1")
    assert starts(branch) == [("fork", 8), ("fork", 8)]
    assert audit_run(plan.layout.run_dir).differences == ()


def test_a_model_that_cannot_be_built_is_recorded_and_its_error_is_raised(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make()
    monkeypatch.setattr(PlainEngine, "__init__", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(plan, "main")
    assert [record.kind for record in read_ledger(plan.layout.path("main").ledger)] == ["start", "failure"]
    monkeypatch.undo()
    assert not run(plan, "main", stop_after=1)


def test_a_damaged_branch_point_is_set_aside_and_trained_again(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make("checkpoint.keep_last=3")
    main = plan.layout.path("main")
    assert not run(plan, "main", stop_after=9)
    flip(find(main, 8))  # and the periodic one, which is the same file
    flip(find(main, 9))
    assert run(plan, "main"), "from step 5"
    assert starts(main) == [("start", 0), ("resume", 5)]
    told = capsys.readouterr().out
    for step in (8, 9):
        assert f"set aside as .damaged-step-{step:08d}: " in told
    (record,) = [r for r in read_ledger(main.ledger) if r.facts.get("skipped")]
    assert len(record.facts["skipped"]) == 3, "the pin of step 8 and both periodic ones"
    assert all("is damaged: its SHA-256 is not the manifest's" in why for why in record.facts["skipped"])
    assert names(main.branch_points) == [".damaged-step-00000008", "step-00000008", "step-00000028"]
    assert {".damaged-step-00000008", ".damaged-step-00000009"} < set(names(main.checkpoints)), "nothing is deleted"
    verify_checkpoint(find(main, 8))
    assert run(plan, "branch-v1")


def test_after_damage_retention_keeps_what_was_saved_since(make: Make) -> None:
    plan = make("checkpoint.keep_last=1", "checkpoint.keep_for_rewind=false")
    main = plan.layout.path("main")
    assert not run(plan, "main", stop_after=25)
    assert steps(main.checkpoints) == [20, 25], "no step has confirmed state 25"
    flip(find(main, 25))
    assert not run(plan, "main", stop_after=3), "from step 20; asked to stop at 23"
    newest, skipped = newest_intact(main.checkpoints, main.branch_points)
    assert newest is not None
    assert (newest.step, skipped) == (23, ()), "the save that it was asked for is there"
    assert run(plan, "main")
    assert starts(main)[-1] == ("resume", 23)


def test_where_nothing_intact_is_left_nothing_is_renamed(make: Make) -> None:
    plan = make()
    main = plan.layout.path("main")
    assert not run(plan, "main", stop_after=6)
    before = names(main.checkpoints)
    for checkpoint in complete_checkpoints(main.checkpoints):
        flip(checkpoint)
    with pytest.raises(CheckpointError, match=r"no intact checkpoint to resume from(.|\n)*restore one from a copy"):
        run(plan, "main")
    assert names(main.checkpoints) == before


@pytest.mark.parametrize("pinned_as", ["link", "copy"])
def test_an_older_state_that_is_lost_does_not_end_its_path(
    make: Make, capsys: pytest.CaptureFixture[str], pinned_as: str
) -> None:
    plan = make("checkpoint.keep_last=9")
    main = plan.layout.path("main")
    assert not run(plan, "main", stop_after=12)
    if pinned_as == "copy":
        shutil.copytree(find(main, 8).directory, main.directory / "copy")
        shutil.rmtree(find(main, 8).directory)
        shutil.copytree(main.directory / "copy", main.branch_points / "step-00000008")
        flip(next(each for each in complete_checkpoints(main.checkpoints) if each.step == 8))
    flip(find(main, 8))
    assert run(plan, "main")
    assert starts(main)[-1] == ("resume", 12)
    told = "main: the state of step 8, which other paths or releases need, is lost: " in capsys.readouterr().out
    assert told == (pinned_as == "copy"), "a link has the bytes of the pin, so that nothing is read for it"
    with pytest.raises(CheckpointError, match="is damaged"):
        run(plan, "branch-v1")


@pytest.mark.parametrize("way", ["removed", "fetched"])
def test_the_way_out_that_a_damaged_branch_point_tells(make: Make, tmp_path: Path, way: str) -> None:
    plan = make("paradigms={path-switching: {alpha: 0.6}}", "checkpoint.keep_every_steps=5")
    main, run_dir = plan.layout.path("main"), plan.layout.run_dir
    assert run(plan, "main", "branch-v2")
    push_run(run_dir, str(tmp_path / "copy"))
    sound = find(main, 8).manifest
    flip(find(main, 8))
    with pytest.raises(CheckpointError) as told:
        run(plan, "branch-v1")
    assert "move it out of the run and fetch it from a copy (`lrps pull`); without a copy, move out every later" in str(
        told.value
    )
    assert not plan.layout.path("branch-v1").checkpoints.exists(), "no step was trained from it"
    for place in (main.checkpoints, main.branch_points):
        for checkpoint in complete_checkpoints(place):
            if checkpoint.step == 8 or (way == "removed" and checkpoint.step > 8):
                shutil.rmtree(checkpoint.directory)
    if way == "fetched":
        pull_run(run_dir, str(tmp_path / "copy"), lambda there, here: there)
        assert find(main, 8).manifest == sound
    assert run(plan, *plan.graph.by_name)
    assert find(main, 8).manifest["files"] == sound["files"]
    assert starts(main)[1:] == ([("resume", 5)] if way == "removed" else [])
    assert audit_run(run_dir).differences == ()


def test_a_damaged_pin_gives_way_to_the_state_that_is_trained_again(make: Make) -> None:
    plan = make("checkpoint.keep_last=9")
    main = plan.layout.path("main")
    assert not run(plan, "main", stop_after=12)
    copy = main.directory / "copy"
    shutil.copytree(find(main, 8).directory, copy)
    shutil.rmtree(find(main, 8).directory)
    shutil.copytree(copy, main.branch_points / "step-00000008")  # no longer the same file
    flip(open_checkpoint(main.branch_points / "step-00000008"))
    assert run(plan, "main")
    verify_checkpoint(find(main, 8))
    assert names(main.branch_points)[0] == ".damaged-step-00000008"


# States of other paths


def put(there: checkpoints.Checkpoint, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    shutil.copytree(there.directory, into / there.directory.name, dirs_exist_ok=True)


def test_states_of_another_path_plan_or_rows_are_refused_before_they_are_loaded(make: Make) -> None:
    plan = make()
    assert run(plan, "main", "straight-v1")
    assert not run(plan, "cpt-v1", stop_after=4)
    cpt = plan.layout.path("cpt-v1")
    put(find(plan.layout.path("straight-v1"), 20), cpt.checkpoints)
    with pytest.raises(CheckpointError, match=r"is a state of path straight-v1, not of cpt-v1; move it back"):
        run(plan, "cpt-v1")
    shutil.rmtree(cpt.checkpoints / "step-00000020")
    assert run(plan, "cpt-v1"), "the way out"


def test_a_fork_from_a_state_of_another_path_is_refused(make: Make) -> None:
    plan = make()
    main = plan.layout.path("main")
    assert run(plan, "main")
    save_as("straight-v1", find(main, 8), main.branch_points)
    with pytest.raises(CheckpointError, match=r"is a state of path straight-v1, not of main"):
        run(plan, "branch-v1")


@pytest.mark.parametrize("key", ["positions", "training_sha256"])
def test_a_state_of_other_rows_or_of_another_training_is_refused(make: Make, key: str) -> None:
    plan = make()
    main = plan.layout.path("main")
    assert not run(plan, "main", stop_after=7)
    there = find(main, 7)
    changed: Any = {"v1": 30} if key == "positions" else "another"
    save_as("main", there, main.checkpoints, **{key: changed})
    told = {
        "positions": r"at row 30 of v1, where main is at row 28 after step 7",
        "training_sha256": r"is of another plan \(tiny, path main\): .*optimizer.* differ",
    }
    with pytest.raises(CheckpointError, match=told[key]):
        run(plan, "main")


def save_as(path: str, there: checkpoints.Checkpoint, place: Path, **facts: Any) -> checkpoints.Checkpoint:
    """The same state in its place, saved as one of another path or with other facts."""
    temporary = checkpoints.begin(place, there.step)
    for file in there.manifest["files"]:
        shutil.copyfile(there.directory / file, temporary / file)
    shutil.rmtree(there.directory)
    identity = {**there.identity, "path": path, **facts}
    return checkpoints.publish(temporary, there.step, there.manifest["files"], identity)


# Pins


def test_a_state_is_pinned_when_it_is_published(make: Make) -> None:
    plan = make()
    main = plan.layout.path("main")
    assert not run(plan, "main", stop_after=8)
    assert names(main.branch_points) == ["step-00000008"]


def test_what_a_later_plan_forks_from_is_pinned(make: Make) -> None:
    keep = ("checkpoint.every_steps=5", "checkpoint.keep_every_steps=5")
    first = make("paradigms={path-switching: {alpha: 0.6}}", *keep)
    main = first.layout.path("main")
    assert run(first, "main")
    assert 5 in steps(main.checkpoints)
    both = "paradigms={path-switching: {alpha: 0.6}, early: {kind: path-switching, alpha: 0.75}}"
    second = make(both, *keep)
    (late, later) = (path for path in second.graph.paths if path.name not in first.graph.by_name)
    assert [late.parent.step, later.parent.step] == [5, 25]  # type: ignore[union-attr]
    assert run(second, late.name)
    assert 5 in steps(main.branch_points), "by the fork"
    assert 25 not in steps(main.branch_points)
    assert run(second, "main"), "it is complete"
    assert 25 in steps(main.branch_points)
    shutil.rmtree(main.checkpoints)
    assert run(second, later.name)


def test_a_fork_waits_for_a_parent_whose_retention_could_remove_its_state(make: Make) -> None:
    plan = make("checkpoint.keep_every_steps=5")
    main = plan.layout.path("main")
    assert run(plan, "main")
    saved = find(main, 8)
    put(saved, main.checkpoints)
    shutil.rmtree(saved.directory)
    with path_lock(main.directory), pytest.raises(LineageError, match="is being trained by"):
        run(plan, "branch-v1")
    assert run(plan, "branch-v1")
    assert 8 in steps(main.branch_points)


# Leftovers and disks that refuse


def test_what_killed_saves_left_is_removed_and_told(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make()
    main = plan.layout.path("main")
    left = [main.checkpoints / ".tmp-step-00000099", main.branch_points / ".tmp-step-00000008"]
    left.append(main.checkpoints / ".pruned-step-00000003")
    kept = main.checkpoints / ".damaged-step-00000002"
    for directory in (*left, kept):
        directory.mkdir(parents=True)
        (directory / "half").write_bytes(bytes(100))
    assert not run(plan, "main", stop_after=2)
    assert not any(directory.exists() for directory in left)
    assert kept.exists()
    told = capsys.readouterr().out
    assert told.count("main: removed ") == 3
    assert "removed branch_points/.tmp-step-00000008, left by an interrupted save" in told


def test_what_cannot_be_pruned_is_told_once_and_ends_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make("checkpoint.keep_last=1", "checkpoint.keep_for_rewind=false")
    main = plan.layout.path("main")

    def refuse(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(checkpoints.shutil, "rmtree", refuse)
    assert not run(plan, "main", stop_after=12)
    told = capsys.readouterr().out
    assert told.count("main: old checkpoints stay: cannot prune") == 1
    recorded = [r.saved_step for r in read_ledger(main.ledger) if r.kind == "checkpoint"]
    assert recorded == [5, 8, 10, 12]
    assert [r.kind for r in read_ledger(main.ledger)][-1] == "stop"
    monkeypatch.undo()
    assert run(plan, "main")
    assert steps(main.checkpoints) == [28]


def failing_once(monkeypatch: pytest.MonkeyPatch, step: int) -> list[int]:
    """Let hashing of one step's files fail; return the steps that were tried."""
    original, tried = checkpoints.fsync_and_hash, list[int]()

    def hashing(path: Path) -> dict[str, Any]:
        tried.append(int(path.parent.name.rpartition("-")[2]))
        if tried[-1] == step:
            raise CheckpointError("cannot finish: no room")
        return original(path)

    monkeypatch.setattr(checkpoints, "fsync_and_hash", hashing)
    return tried


@pytest.mark.parametrize("stop_after", [6, 7])
def test_an_earlier_save_that_failed_does_not_cost_the_one_at_a_stop(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stop_after: int
) -> None:
    plan = make()
    main = plan.layout.path("main")
    failing_once(monkeypatch, 5)
    monkeypatch.setattr(checkpointing.Saver, "written", property(lambda saver: False))  # another rank is late
    assert not run(plan, "main", stop_after=stop_after)
    assert steps(main.checkpoints) == [stop_after]
    assert [r.kind for r in read_ledger(main.ledger)][-1] == "stop"
    told = capsys.readouterr().out
    assert f"an earlier save failed, the one of step {stop_after} did not: cannot finish: no room" in told


def test_a_save_that_all_have_written_in_the_step_of_a_stop_may_fail_too(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make()
    failing_once(monkeypatch, 5)
    monkeypatch.setattr(checkpointing.Saver, "written", property(lambda saver: saver._draft is not None))
    assert not run(plan, "main", stop_after=6)
    assert steps(plan.layout.path("main").checkpoints) == [6]


def test_without_a_stop_a_save_that_failed_ends_the_attempt(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make()
    failing_once(monkeypatch, 5)
    with pytest.raises(CheckpointError, match="no room"):
        run(plan, "main")
    assert [r.kind for r in read_ledger(plan.layout.path("main").ledger)][-1] == "failure"


def test_the_save_at_a_stop_is_awaited(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make()
    begun: list[int] = []
    begin = checkpointing.Saver.begin
    monkeypatch.setattr(
        checkpointing.Saver, "begin", lambda saver, step, identity: (begun.append(step), begin(saver, step, identity))
    )
    assert not run(plan, "main", stop_after=7)
    assert begun == [5]
    assert steps(plan.layout.path("main").checkpoints) == [5, 7]


def test_what_a_checkpoint_holds_is_in_the_ledger_before_it_is_there(make: Make) -> None:
    plan = make("track.log_every_steps=50")
    main = plan.layout.path("main")
    known: dict[int, int] = {}

    def look(step: int) -> None:
        logged = [r.step for r in read_ledger(main.ledger) if r.kind == "heartbeat"]
        known.update((saved, max(logged, default=0)) for saved in steps(main.checkpoints) if saved not in known)

    with before_steps(look):
        assert run(plan, "main")
    assert known.keys() >= {5, 8, 10}
    assert all(logged >= saved for saved, logged in known.items())


def test_what_is_young_stays(make: Make) -> None:
    plan = make("checkpoint.keep_last=1", "checkpoint.keep_hours=1")
    main = plan.layout.path("main")
    assert run(plan, "main")
    assert steps(main.checkpoints) == [5, 8, 10, 15, 20, 25, 28]


def test_pins_of_another_content_still_end_the_attempt(make: Make) -> None:
    plan = make("checkpoint.keep_last=9")
    main = plan.layout.path("main")
    assert not run(plan, "main", stop_after=12)
    other = save_as("main", find(main, 8), main.branch_points, tokens=1)
    with pytest.raises(CheckpointError, match="a pin never changes"):
        run(plan, "main")
    assert pin(other, main.branch_points) == other


def test_states_that_are_away_for_a_moment_change_no_path_json(make: Make) -> None:
    plan = make()
    run(plan, "main", stop_after=8)
    main = plan.layout.path("main")
    identity = main.path_json.read_text().replace('"format"', '"kept": 1,\n "format"')
    main.path_json.write_text(identity)
    for place in (main.checkpoints, main.branch_points):
        place.rename(place.with_name(f"{place.name}-away"))
    with pytest.raises(CheckpointError, match="restore one from a copy"):
        run(plan, "main")
    assert main.path_json.read_text() == identity
    for place in (main.checkpoints, main.branch_points):
        shutil.rmtree(place, ignore_errors=True)
        place.with_name(f"{place.name}-away").rename(place)
    assert run(plan, "main")


def test_documents_that_end_otherwise_than_the_checkpoint_are_refused(make: Make, tmp_path: Path) -> None:
    """Unless the run was begun so: it continues with the tokens that it has."""
    (tmp_path / "config.json").write_text('{"model_type": "llama", "vocab_size": 257, "eos_token_id": 7}')
    plan = make("model.architecture=null", f"model.checkpoint={tmp_path}")
    with pytest.raises(DataError, match=r"documents end with <\|endoftext\|> .*, but the EOS token of .* \(id 7\)"):
        check_tokenizer(plan)
    begun = make()
    check_tokenizer(begun)
    run(begun, "main", stop_after=2)
    check_tokenizer(plan)


def test_shards_whose_tokens_a_setting_of_the_tokenizer_changed_are_refused(make: Make, tmp_path: Path) -> None:
    """Shards of an earlier lrps, or fetched ones, that another file of the same tokenizer cut."""
    plan = make()
    tokenizer = json.loads(plan.config.data.tokenizer_path.read_text())
    tokenizer["truncation"] = {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    cut = tmp_path / "cut.json"
    cut.write_text(json.dumps(tokenizer))
    sha256 = sha256_file(cut)
    manifests = {
        name: replace(manifest, tokenizer=replace(manifest.tokenizer, sha256=sha256))
        for name, manifest in plan.manifests.items()
    }
    data = plan.config.data.model_copy(update={"tokenizer": cut, "train_vocabulary": None})
    with pytest.raises(DataError, match=r"truncation in .*cut\.json changed the tokens of v1"):
        check_tokenizer(replace(plan, config=plan.config.model_copy(update={"data": data}), manifests=manifests))
