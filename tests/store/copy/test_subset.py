"""Which part of a run is copied: a running path as of its newest save; of a remote one what a machine needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import CheckpointError, LineageError
from lrps.plan.plan import Plan
from lrps.store.copy.attempts import saves
from lrps.store.copy.inventory import Inventory, list_inventory
from lrps.store.copy.run_store import DirectoryStore
from lrps.store.copy.subset import check_same_training, needed_to_resume, select_paths, snapshot_at_last_checkpoint
from support.run_builder import attempt, save, small_plan, small_run

KEEP = {"keep_last": 2, "keep_every_steps": None}


def taken(plan: Plan) -> Inventory:
    return list_inventory(DirectoryStore(plan.layout.run_dir))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return small_run(tmp_path)


@pytest.fixture
def nothing(tmp_path: Path) -> Inventory:
    return list_inventory(DirectoryStore(tmp_path / "nothing"))


def states(inventory: Inventory) -> list[str]:
    return sorted(name for name, each in inventory.directories.items() if each.fault is None)


def test_a_path_and_what_belongs_to_all(plan: Plan) -> None:
    found = select_paths(taken(plan), ["branch-v1"])
    assert {*found.identities, *(each.path for each in found.directories.values())} == {"branch-v1"}
    assert sorted(found.logs) == ["branch-v1/ledger/000.jsonl", "branch-v1/metrics.jsonl"]
    assert "plan.json" in found.documents
    with pytest.raises(LineageError, match="has no path branch-v9; its paths: branch-v1, main"):
        select_paths(taken(plan), ["branch-v9"])


def test_a_running_path_is_copied_as_of_its_newest_save(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    attempt(plan, "main", 0, 12, (10,))
    attempt(plan, "main", 10, 27, (20,), closed=False)
    for step in (10, 20, 25):  # 25 is published, its record not yet written
        save(plan, "main", step)
    found = snapshot_at_last_checkpoint(taken(plan), "main")
    assert states(found) == ["main/checkpoints/step-00000010", "main/checkpoints/step-00000020"]
    assert found.directories["main/checkpoints/step-00000025"].fault == "its record is not in the ledger yet"
    first, second = found.ledger("main").values()
    assert first == taken(plan).ledger("main")["main/ledger/000.jsonl"], "earlier attempts as a whole"
    assert second.count(b"\n") == 1 + 10 + 1, "start, the steps to 20, its checkpoint"


@settings(max_examples=20, deadline=None)
@given(saved=st.sets(st.integers(1, 30)), there=st.sets(st.integers(1, 30)))
def test_no_state_without_its_record_and_no_record_behind_the_newest(
    saved: set[int], there: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = small_plan(tmp_path_factory.mktemp("law"))
    attempt(plan, "main", 0, 30, tuple(saved), closed=False)
    for step in there:
        save(plan, "main", step)
    found = snapshot_at_last_checkpoint(taken(plan), "main")
    whole = {each.step for each in found.complete("main", "checkpoints")}
    recorded = saves(found.ledger("main"))
    assert whole == saved & there
    assert max(recorded, default=None) == max(whole, default=None)


def test_what_a_machine_needs_to_go_on(plan: Plan, nothing: Inventory) -> None:
    found = needed_to_resume(taken(plan), nothing, **KEEP)
    assert states(found) == [
        "branch-v1/branch_points/step-00000100",
        "branch-v1/checkpoints/step-00000100",
        "branch-v1/model",
        "main/branch_points/step-00000040",
        "main/checkpoints/step-00000050",
        "main/checkpoints/step-00000060",
    ]
    assert "main/checkpoints/step-00000070" in found.directories, "to be told that it is left out"
    every = needed_to_resume(taken(plan), nothing, keep_last=1, keep_every_steps=30)
    assert [each.step for each in every.complete("main", "checkpoints")] == [30, 60]


def test_a_branch_comes_with_the_state_that_it_forks_from(plan: Plan, nothing: Inventory) -> None:
    found = needed_to_resume(taken(plan), nothing, ["branch-v1"], **KEEP)
    assert [name for name in states(found) if name.startswith("main")] == ["main/branch_points/step-00000040"]
    assert sorted(found.identities) == ["branch-v1", "main"]
    assert list(found.ledger("main")) == ["main/ledger/000.jsonl"]


def test_a_branch_without_its_parent_is_told(plan: Plan, nothing: Inventory) -> None:
    with pytest.raises(LineageError, match="has branch-v1, but not main, which it forks from"):
        needed_to_resume(select_paths(taken(plan), ["branch-v1"]), nothing, ["branch-v1"], **KEEP)


def test_one_state_to_go_on_from(plan: Plan, nothing: Inventory) -> None:
    def one(step: int) -> list[str]:
        return states(needed_to_resume(taken(plan), nothing, ["main"], step, **KEEP))

    assert one(50) == ["main/checkpoints/step-00000050"]
    assert one(40) == ["main/branch_points/step-00000040"]
    with pytest.raises(CheckpointError, match="no complete step-00000070 of main; complete steps: 30, 40, 50, 60"):
        one(70)


def test_what_was_let_go_here_is_not_fetched_again(plan: Plan, tmp_path: Path) -> None:
    further = small_plan(tmp_path / "further")
    attempt(further, "main", 0, 80, (80,))
    save(further, "main", 80)
    found = needed_to_resume(taken(plan), taken(further), ["main"], **KEEP)
    assert states(found) == ["main/branch_points/step-00000040"]


def test_another_training_is_told_before_anything_is_fetched(plan: Plan, tmp_path: Path) -> None:
    assert check_same_training(taken(plan), plan.config) == taken(plan)
    other = small_plan(tmp_path / "other", seed=8)
    with pytest.raises(LineageError, match="`seed`: the run was begun with 7, the config says 8"):
        check_same_training(taken(plan), other.config)
