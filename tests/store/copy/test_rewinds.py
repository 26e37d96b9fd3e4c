"""Push and pull of runs whose paths were taken back: the list of amendments grows, and no history is lost."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.audit.run import audit_run
from lrps.base.errors import LineageError
from lrps.paths.amendments import Amendment
from lrps.plan.plan import Plan
from lrps.plan.rewind import rewind
from lrps.store.copy import transfer
from lrps.store.copy.inventory import Inventory
from lrps.store.copy.subset import needed_to_resume
from lrps.store.copy.transfer import pull_run, push_run
from support.synthetic_run import edit, plan_of, train

SWITCHING = {"path-switching": {"alpha": 0.6}}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Main to 26 with pins at 4, 15 and 26, and branch-v1 and branch-v2; branch-v3 is not begun."""
    plan = plan_of(tmp_path / "here", [10, 12, 11], SWITCHING)
    train(plan, [(8, "stop")], names=["main", "branch-v1", "branch-v2"])
    return plan


def take_back(plan: Plan, to: int = 4) -> None:
    rewind(replace(plan), "main", Amendment(to, peak_lr=0.25))
    train(replace(plan), names=["main", "branch-v3"])


def content(run_dir: Path) -> dict[str, bytes]:
    """Return the files that a copy has, by name."""
    files = (file for file in run_dir.rglob("*") if file.is_file() and not file.name.startswith("."))
    return {str(file.relative_to(run_dir)): file.read_bytes() for file in files if file.name != "lock"}


def everything(there: Inventory, here: Inventory) -> Inventory:
    return needed_to_resume(there, here, keep_last=9, keep_every_steps=None, keeps_for_rewind=lambda _: False)


def test_a_push_after_a_rewind_moves_the_old_states_there_and_sends_the_new_ones(plan: Plan, tmp_path: Path) -> None:
    run_dir, there = plan.layout.run_dir, tmp_path / "there"
    push_run(run_dir, str(there))
    take_back(plan)
    groups = {group.name: group.action for group in push_run(run_dir, str(there)).groups}
    assert groups["main/abandoned/1/branch_points/step-00000015"] == "copy", "no byte of it is sent again"
    assert content(there) == content(run_dir)
    assert {group.action for group in push_run(run_dir, str(there)).groups} == {"skip"}
    pulled = tmp_path / "pulled" / run_dir.name
    pull_run(pulled, str(there), everything)
    audit = audit_run(pulled)
    assert audit.ok, audit.differences
    assert not (pulled / "main" / "abandoned").exists()


@pytest.mark.parametrize("way", ["push", "pull"])
def test_an_interrupted_copy_is_completed_by_the_same_command(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    run_dir, old = plan.layout.run_dir, tmp_path / "old"
    shutil.copytree(run_dir, old)
    take_back(plan)

    def copy(target: Path) -> None:
        if way == "push":
            push_run(run_dir, str(target))
        else:
            pull_run(target, str(run_dir), everything)

    whole = shutil.copytree(old, tmp_path / "whole")
    copy(whole)
    assert audit_run(whole).ok
    name = f"_{way}"
    real: Any = getattr(transfer, name)
    for last in range(40):
        target, calls = shutil.copytree(old, tmp_path / f"copy-{last}"), 0

        def interrupted(*arguments: Any, last: int = last) -> Any:
            nonlocal calls
            calls += 1
            if calls > last:
                raise KeyboardInterrupt
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(transfer, name, interrupted)
            try:
                copy(target)
            except KeyboardInterrupt:
                copied = False
            else:
                copied = True
        copy(target)
        assert content(target) == content(whole)
        if copied:
            return
    raise AssertionError("more groups than expected")


def test_an_older_copy_changes_nothing_of_a_path_that_was_taken_back(plan: Plan, tmp_path: Path) -> None:
    run_dir, old = plan.layout.run_dir, tmp_path / "old"
    shutil.copytree(run_dir, old)
    take_back(plan)
    before = content(run_dir)
    push_run(old, str(run_dir))
    assert content(run_dir) == before


def test_lists_that_contradict_each_other_are_refused_and_nothing_is_copied(plan: Plan, tmp_path: Path) -> None:
    run_dir, other = plan.layout.run_dir, tmp_path / "other"
    shutil.copytree(run_dir, other)
    take_back(plan)
    edit(other / "main" / "path.json", lambda values: values["path"].update(amendments=[Amendment(15).to_json()]))
    before = content(other)
    with pytest.raises(LineageError, match="main was taken back to other steps at .*other than at"):
        push_run(run_dir, str(other))
    assert content(other) == before


def test_a_branch_from_another_history_is_refused(plan: Plan, tmp_path: Path) -> None:
    run_dir, other = plan.layout.run_dir, tmp_path / "other"
    shutil.copytree(run_dir, other)
    edit(run_dir / "branch-v2" / "path.json", lambda values: values["path"].update(parent_generation=1))
    with pytest.raises(LineageError, match="branch-v2 was forked from another history of main"):
        push_run(run_dir, str(other))


def test_a_path_that_has_grown_on_one_side_and_was_taken_back_on_the_other_is_both(plan: Plan, tmp_path: Path) -> None:
    run_dir, other = plan.layout.run_dir, tmp_path / "other"
    shutil.copytree(run_dir, other)
    grown = json.loads((other / "main" / "path.json").read_text())
    take_back(plan)

    def shorten(values: dict[str, Any]) -> None:
        segment = values["path"]["segments"][-1]
        rows = segment["rows"] // segment["steps"]
        segment["steps"] -= 1
        segment["rows"] -= rows
        segment["parts"][0]["rows"] -= rows
        values["path"]["stop"] -= 1

    edit(run_dir / "main" / "path.json", shorten)
    push_run(run_dir, str(other))
    values = json.loads((other / "main" / "path.json").read_text())
    assert values["path"].pop("amendments")[0]["at"] == 4
    assert values == grown
