"""The file system's tests, on a real one and on ones that lie."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrps.config.models import Config
from lrps.costs.planned.checkpoint_disk import checkpoint_bytes, rewind_bytes
from lrps.doctor import filesystem
from lrps.doctor.examination import Subject
from lrps.plan.plan import Plan, make_plan

MakeConfig = Callable[..., Config]


@pytest.fixture
def plan(make_config: MakeConfig, tmp_path: Path) -> Plan:
    return make_plan(make_config(runs=str(tmp_path), checkpoint={"every_steps": 10}))


def refuse(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOTSUP, "Operation not supported")


def test_a_real_one_is_sound_and_stays_as_it_was(plan: Plan, tmp_path: Path) -> None:
    found = {finding.name: finding.state for finding in filesystem.check_semantics(Subject(plan))}
    assert found == dict.fromkeys(("directory", "hard links", "rename", "flock", "fsync"), "ok")
    assert list(tmp_path.iterdir()) == []


def test_no_hard_links_can_be_lived_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refuse)
    assert filesystem.hard_links(tmp_path).state == "warn"


def test_links_that_are_copies_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", lambda source, target: Path(target).write_bytes(Path(source).read_bytes()))
    assert "became a copy" in filesystem.hard_links(tmp_path).what


@pytest.mark.parametrize("replace", [refuse, lambda source, target: None])
def test_a_rename_that_does_not_replace_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: Callable[..., None]
) -> None:
    monkeypatch.setattr(os, "replace", replace)
    assert filesystem.rename(tmp_path).state == "fail"


def test_no_locks_fail_and_locks_without_effect_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert filesystem.locks(tmp_path).state == "fail"
    monkeypatch.setattr(fcntl, "flock", lambda file, how: None)
    assert filesystem.locks(tmp_path).state == "warn"


def test_a_slow_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "SLOW_FSYNC_SECONDS", 0.0)
    assert filesystem.fsync(tmp_path, repeats=2).state == "warn"


def test_a_directory_that_cannot_be_written_to(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(**_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "runs")

    monkeypatch.setattr(filesystem, "TemporaryDirectory", denied)
    (found,) = filesystem.check_semantics(Subject(plan))
    assert (found.name, found.state) == ("directory", "fail")


def test_an_interruption_leaves_nothing(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_scratch: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(filesystem, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(filesystem.check_semantics(Subject(plan)))
    assert list(tmp_path.iterdir()) == []


def test_what_lies_there_is_not_needed_again(plan: Plan) -> None:
    each = plan.costs.checkpoint_bytes
    assert each is not None
    kept, more = checkpoint_bytes(plan, plan.graph), rewind_bytes(plan, plan.graph)
    assert kept is not None
    assert more is not None
    wanted = kept + more + each
    assert filesystem.still_needed(plan) == wanted
    periodic = plan.layout.path("main").checkpoints / "step-00000010"
    pinned = plan.layout.path("main").branch_points / "step-00000010"
    for directory in (periodic, pinned):
        directory.mkdir(parents=True)
    (periodic / "a").write_bytes(b"0" * each)
    os.link(periodic / "a", pinned / "a")
    assert filesystem.still_needed(plan) == wanted - each


@pytest.mark.parametrize(("parameters", "state"), [("1K", "ok"), ("1000T", "fail")])
def test_room_for_the_checkpoints(make_config: MakeConfig, tmp_path: Path, parameters: str, state: str) -> None:
    model = {"architecture": {"model_type": "mamba", "vocab_size": 9}, "parameters": parameters}
    found = {
        f.name: f for f in filesystem.check_free_space(Subject(make_plan(make_config(runs=str(tmp_path), model=model))))
    }
    assert found["free space"].state == state


def test_the_speed_is_measured_and_leaves_nothing(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "SPEED_BYTES", 2**25)
    (found,) = filesystem.check_speed(Subject(plan))
    assert found.state == "ok"
    assert "to write a checkpoint of" in found.what
    assert list(tmp_path.iterdir()) == []
