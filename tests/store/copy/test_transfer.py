"""Runs pushed and pulled: each byte once, nothing half there, whatever is interrupted, damaged or in the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import CheckpointError, LineageError, LrpsError, TransferError
from lrps.base.locks import path_lock
from lrps.plan.plan import Plan
from lrps.store.checkpoints import complete_checkpoints, find, verify_checkpoint
from lrps.store.copy import transfer
from lrps.store.copy.inventory import PENDING
from lrps.store.copy.run_store import DirectoryStore
from lrps.store.copy.subset import needed_to_resume
from lrps.store.copy.transfer import Transfer, pull_run, push_run
from lrps.store.kept_checkpoints import prune_checkpoints
from lrps.store.layout import RunLayout
from support.run_builder import attempt, files, save, small_plan, small_run

EVERYTHING = partial(needed_to_resume, keep_last=100, keep_every_steps=None, keeps_for_rewind=bool)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return small_run(tmp_path / "runs")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A directory to push to."""
    return tmp_path / "there"


@pytest.fixture
def uploads(s3_server: Any, s3: Callable[[str, bytes], None]) -> Iterator[dict[str, int]]:
    """What reaches the S3 server: key -> bytes in the bodies of requests, counted at the server."""
    server = s3_server._server
    app, counted = server.app, dict[str, int]()

    def counting(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] in ("PUT", "POST"):
            counted[environ["PATH_INFO"]] = counted.get(environ["PATH_INFO"], 0) + int(environ["CONTENT_LENGTH"] or 0)
        return app(environ, start_response)

    server.app = counting
    yield counted
    server.app = app


def states(counted: dict[str, int]) -> int:
    """Bytes of data files of checkpoints."""
    return sum(size for key, size in counted.items() if key.endswith(("weights.safetensors", "state.json")))


def skipped(done: Transfer) -> bool:
    return all(group.action == "skip" for group in done.groups)


def without_report(run_dir: Path) -> dict[str, bytes]:
    """Return what a pull brings: a report is made anew, and pages of others are not opened."""
    return {name: content for name, content in files(run_dir).items() if not name.startswith("report/")}


@pytest.mark.parametrize("kind", ["directory", "s3"])
def test_there_and_back(kind: str, plan: Plan, there: Path, tmp_path: Path, s3: Callable[[str, bytes], None]) -> None:
    address = str(there) if kind == "directory" else f"s3://lake/{tmp_path.name}/runs"
    pushed = push_run(plan.layout.run_dir, address)
    assert skipped(push_run(plan.layout.run_dir, address))
    fresh = tmp_path / "fresh" / "small"
    pull_run(fresh, address, EVERYTHING)
    assert files(fresh) == without_report(plan.layout.run_dir)
    assert skipped(pull_run(fresh, address, EVERYTHING))
    main = RunLayout(fresh).path("main")
    assert not list(main.directory.rglob(".*"))
    for checkpoint in (*complete_checkpoints(main.checkpoints), *complete_checkpoints(main.branch_points)):
        verify_checkpoint(checkpoint)
    pinned = main.branch_points / "step-00000040" / "weights.safetensors"
    assert pinned.stat().st_ino == (main.checkpoints / "step-00000040" / "weights.safetensors").stat().st_ino
    assert all(not path.stat().st_mode & 0o222 for path in pinned.parent.iterdir()), "a pin is read-only"
    assert pushed.groups[0].action == "send"
    assert prune_checkpoints(main.checkpoints, 1), "what is linked can be pruned"
    verify_checkpoint(find(main, 40))


def test_a_directory_holds_exactly_the_run_and_links_its_pins(plan: Plan, there: Path) -> None:
    push_run(plan.layout.run_dir, str(there))
    assert files(there) == files(plan.layout.run_dir)
    held = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    assert held == files(plan.layout.run_dir).keys(), "no lock, no leftover, nothing incomplete"
    one, other = (
        there / "main" / place / "step-00000040" / "weights.safetensors" for place in ("checkpoints", "branch_points")
    )
    assert one.stat().st_ino == other.stat().st_ino
    ours = plan.layout.path("main").checkpoints / "step-00000040" / "weights.safetensors"
    assert one.stat().st_ino != ours.stat().st_ino, "a copy shares nothing with what it is a copy of"


@pytest.mark.parametrize("first", ["checkpoints", "branch_points"])
def test_no_byte_of_a_state_is_uploaded_twice(first: str, plan: Plan, uploads: dict[str, int], tmp_path: Path) -> None:
    layout, address = plan.layout.path("main"), f"s3://lake/{tmp_path.name}"
    later = layout.directory / {"checkpoints": "branch_points", "branch_points": "checkpoints"}[first] / "step-00000040"
    away = later.rename(tmp_path / later.name)
    push_run(plan.layout.run_dir, address)
    once = states(uploads)
    distinct = {
        content for name, content in files(plan.layout.run_dir).items() if name.endswith(("tensors", "state.json"))
    }
    assert once == sum(len(content) for content in distinct) - len(b"a model") > 80_000
    away.rename(later)
    uploads.clear()
    done = push_run(plan.layout.run_dir, address)
    assert states(uploads) == 0
    assert sum(uploads.values()) < 2000, "the manifest only"
    assert sum(group.bytes_of("copy") for group in done.groups) > 15_000
    pull_run(tmp_path / "fresh", address, EVERYTHING)
    assert files(tmp_path / "fresh") == without_report(plan.layout.run_dir)


def test_a_broken_push_goes_on_with_the_files_that_are_missing(
    plan: Plan, uploads: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"s3://lake/{tmp_path.name}"
    monkeypatch.setattr(transfer, "TRANSFERS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(
            transfer, "_check", stop_at("main/checkpoints/step-00000050/weights.safetensors", transfer._check)
        )
        with pytest.raises(KeyboardInterrupt):
            push_run(plan.layout.run_dir, address)
    assert not [key for key in uploads if key.endswith("step-00000050/manifest.json")]
    with pytest.raises(CheckpointError, match="no complete step-00000050 of main; complete steps: 30, 40"):
        pull_run(tmp_path / "early", address, partial(EVERYTHING, paths=["main"], step=50))
    uploads.clear()
    push_run(plan.layout.run_dir, address)
    assert {key.rpartition("step-000000")[2] for key in uploads if "/main/" in key and "step-" in key} == {
        *(f"50/{name}" for name in (PENDING, "weights.safetensors", "manifest.json")),  # state.json was there
        *(f"60/{name}" for name in (PENDING, "weights.safetensors", "state.json", "manifest.json")),
    }
    pull_run(tmp_path / "fresh", address, EVERYTHING)
    assert files(tmp_path / "fresh") == without_report(plan.layout.run_dir)


def stop_at(name: str, action: Callable[..., Any]) -> Callable[..., Any]:
    def stopping(path: Path, file: Any, *rest: Any) -> Any:
        if file.name == name:
            raise KeyboardInterrupt
        return action(path, file, *rest)

    return stopping


def test_a_periodic_one_is_replaced_by_the_step_saved_again(plan: Plan, there: Path, tmp_path: Path) -> None:
    push_run(plan.layout.run_dir, str(there))
    pull_run(tmp_path / "stale", str(there), EVERYTHING)
    attempt(plan, "main", 40, 60, (50,))
    save(plan, "main", 50, b"saved again " * 2000)
    push_run(plan.layout.run_dir, str(there))
    assert files(there) == files(plan.layout.run_dir)
    pull_run(tmp_path / "stale", str(there), EVERYTHING)
    assert files(tmp_path / "stale") == without_report(plan.layout.run_dir)


def test_what_contradicts_is_told_before_anything_is_copied(plan: Plan, there: Path, tmp_path: Path) -> None:
    push_run(plan.layout.run_dir, str(there))
    other = small_run(tmp_path / "other")
    before = files(there), files(other.layout.run_dir)
    with pytest.raises(LineageError, match="contradict each other"):
        push_run(other.layout.run_dir, str(there))
    with pytest.raises(LineageError, match="contradict each other"):
        pull_run(other.layout.run_dir, str(there), EVERYTHING)
    assert (files(there), files(other.layout.run_dir)) == before


def test_a_dry_run_changes_nothing(plan: Plan, there: Path, tmp_path: Path) -> None:
    dry = push_run(plan.layout.run_dir, str(there), dry_run=True)
    assert not there.exists()
    assert push_run(plan.layout.run_dir, str(there)).groups == dry.groups
    dry = pull_run(tmp_path / "fresh", str(there), EVERYTHING, dry_run=True)
    assert not (tmp_path / "fresh").exists()
    assert pull_run(tmp_path / "fresh", str(there), EVERYTHING).groups == dry.groups


def test_only_some_paths(plan: Plan, there: Path) -> None:
    push_run(plan.layout.run_dir, str(there), ["branch-v1"])
    assert {path.name for path in there.iterdir()} == {"branch-v1", "plan.json", "report"}


def test_a_path_that_is_trained_is_not_pulled_over(plan: Plan, there: Path) -> None:
    push_run(plan.layout.run_dir, str(there))
    with path_lock(plan.layout.path("main").directory):
        for dry_run in (True, False):
            with pytest.raises(LineageError, match="is being trained"):
                pull_run(plan.layout.run_dir, str(there), EVERYTHING, dry_run=dry_run)


def test_a_path_that_is_trained_can_be_pushed_and_pushed_again(tmp_path: Path, there: Path) -> None:
    plan = small_plan(tmp_path / "runs")
    attempt(plan, "main", 0, 27, (10, 20), closed=False)
    for step in (10, 20):
        save(plan, "main", step)
    with path_lock(plan.layout.path("main").directory):
        push_run(plan.layout.run_dir, str(there))
    assert (there / "main" / "ledger" / "000.jsonl").read_bytes().endswith(b'"facts":{"saved_step":20}}\n')
    push_run(plan.layout.run_dir, str(there))
    assert files(there) == files(plan.layout.run_dir)


def test_what_is_pruned_while_it_is_pushed_is_left_out(
    plan: Plan, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = transfer._check

    def pruning(path: Path, *rest: Any) -> None:
        shutil.rmtree(plan.layout.path("main").checkpoints / "step-00000030", ignore_errors=True)
        check(path, *rest)

    monkeypatch.setattr(transfer, "_check", pruning)
    done = {group.name: group.why for group in push_run(plan.layout.run_dir, str(there)).groups}
    assert done["main/checkpoints/step-00000030"] == "left out: it was pruned meanwhile"
    assert (there / "main" / "checkpoints" / "step-00000060" / "manifest.json").exists()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def test_damage_here_is_not_pushed(plan: Plan, there: Path) -> None:
    flip(plan.layout.path("main").checkpoints / "step-00000060" / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"step-00000060/weights.safetensors is damaged: its SHA-256"):
        push_run(plan.layout.run_dir, str(there))
    assert not (there / "main" / "checkpoints" / "step-00000060" / "manifest.json").exists()


def test_damage_there_is_not_pulled_and_what_came_is_kept(plan: Plan, there: Path, tmp_path: Path) -> None:
    push_run(plan.layout.run_dir, str(there))
    damaged = there / "main" / "checkpoints" / "step-00000060" / "weights.safetensors"
    flip(damaged)
    fresh = tmp_path / "fresh"
    with pytest.raises(CheckpointError, match=rf"step-00000060/weights.safetensors at {there} is damaged"):
        pull_run(fresh, str(there), EVERYTHING)
    main = RunLayout(fresh).path("main")
    assert [each.step for each in complete_checkpoints(main.checkpoints)] == [30, 40, 50]
    flip(damaged)
    (there / "main" / "checkpoints" / "step-00000060" / "state.json").rename(tmp_path / "aside")
    (tmp_path / "aside").rename(there / "main" / "checkpoints" / "step-00000060" / "state.json")
    pull_run(fresh, str(there), EVERYTHING)
    assert files(fresh) == without_report(plan.layout.run_dir)


def test_a_broken_pull_keeps_the_files_that_are_intact(
    plan: Plan, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_run(plan.layout.run_dir, str(there))
    fetched: list[str] = []
    get = DirectoryStore.get

    def counting(place: DirectoryStore, name: str, *rest: Any) -> None:
        fetched.append(name)
        get(place, name, *rest)

    monkeypatch.setattr(DirectoryStore, "get", counting)
    monkeypatch.setattr(transfer, "TRANSFERS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(
            transfer, "_check", stop_at("main/checkpoints/step-00000050/weights.safetensors", transfer._check)
        )
        with pytest.raises(KeyboardInterrupt):
            pull_run(tmp_path / "fresh", str(there), EVERYTHING)
    left = RunLayout(tmp_path / "fresh").path("main").checkpoints / ".tmp-step-00000050"
    flip(left / "weights.safetensors")
    (left / "foreign").write_text("of another state")
    fetched.clear()
    pull_run(tmp_path / "fresh", str(there), EVERYTHING)
    assert [name for name in fetched if "00000050" in name] == ["main/checkpoints/step-00000050/weights.safetensors"]
    assert not [name for name in fetched if "00000030" in name]
    assert files(tmp_path / "fresh") == without_report(plan.layout.run_dir)


def test_a_damaged_pin_here_is_no_source_of_links(plan: Plan, there: Path, tmp_path: Path) -> None:
    push_run(plan.layout.run_dir, str(there))
    fresh = tmp_path / "fresh"
    pull_run(fresh, str(there), EVERYTHING)
    main = RunLayout(fresh).path("main")
    shutil.rmtree(main.checkpoints / "step-00000040")
    flip(main.branch_points / "step-00000040" / "weights.safetensors")
    pull_run(fresh, str(there), EVERYTHING)
    verify_checkpoint(complete_checkpoints(main.checkpoints)[1])


def test_an_incomplete_one_here_is_completed(plan: Plan, there: Path) -> None:
    push_run(plan.layout.run_dir, str(there))
    expected = files(plan.layout.run_dir)
    main = plan.layout.path("main")
    (main.checkpoints / "step-00000060" / "weights.safetensors").unlink()
    (main.branch_points / "step-00000040" / "state.json").unlink()
    pull_run(plan.layout.run_dir, str(there), EVERYTHING)
    assert files(plan.layout.run_dir) == expected


def test_the_run_directory_may_lie_behind_links(plan: Plan, there: Path, tmp_path: Path) -> None:
    checkpoints = plan.layout.path("main").checkpoints
    checkpoints.rename(tmp_path / "bigger-disk")
    checkpoints.symlink_to(tmp_path / "bigger-disk")
    push_run(plan.layout.run_dir, str(there))
    assert len(complete_checkpoints(there / "main" / "checkpoints")) == 4


def test_there_must_be_a_run(tmp_path: Path) -> None:
    with pytest.raises(LineageError, match="has no paths; make some with `lrps run`"):
        push_run(tmp_path / "nowhere", str(tmp_path / "there"))
    with pytest.raises(LineageError, match="has no run"):
        pull_run(tmp_path / "fresh", str(tmp_path / "there"), EVERYTHING)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(plan: Plan, there: Path, tmp_path: Path) -> None:
    there.write_text("no directory")
    with pytest.raises(TransferError, match="cannot list .*there: .*Not a directory.*then run the same command again"):
        push_run(plan.layout.run_dir, str(there))
    push_run(plan.layout.run_dir, str(tmp_path / "elsewhere"))
    with pytest.raises(TransferError, match="Not a directory"):
        pull_run(there, str(tmp_path / "elsewhere"), EVERYTHING)


def test_a_full_disk_here_is_told_and_more_room_goes_on(
    plan: Plan, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_run(plan.layout.run_dir, str(there))
    get = DirectoryStore.get
    with monkeypatch.context() as patch:

        def full(place: DirectoryStore, name: str, file: Path, advance: Any) -> None:
            def advancing(done: int) -> None:
                if "step-00000050" in name:
                    raise OSError(28, "No space left on device")
                advance(done)

            get(place, name, file, advancing)

        patch.setattr(DirectoryStore, "get", full)
        with pytest.raises(LrpsError, match="free disk space; then run the same command again"):
            pull_run(tmp_path / "fresh", str(there), EVERYTHING)
    pull_run(tmp_path / "fresh", str(there), EVERYTHING)
    assert files(tmp_path / "fresh") == without_report(plan.layout.run_dir)
