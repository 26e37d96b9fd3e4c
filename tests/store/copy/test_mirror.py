"""What two inventories make of each other: nothing twice, nothing lost, contradictions told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import LineageError
from lrps.store.copy.inventory import PENDING, Inventory, list_inventory
from lrps.store.copy.mirror import CopyGroup, compare_inventories
from support.run_builder import attempt, files, release, save, small_plan, small_run


class Held:
    """A place in memory."""

    def __init__(self, contents: dict[str, bytes], label: str) -> None:
        self.contents, self.label = contents, label

    def sizes(self) -> dict[str, int]:
        return {name: len(content) for name, content in self.contents.items()}

    def read(self, name: str) -> bytes | None:
        return self.contents.get(name)


def held(contents: dict[str, bytes], label: str = "there") -> Inventory:
    return list_inventory(Held(contents, label))


def compared(ours: dict[str, bytes], theirs: dict[str, bytes], replace: bool = True) -> dict[str, CopyGroup]:
    groups = compare_inventories(held(ours, "here"), held(theirs), replace_documents=replace)
    return {group.name: group for group in groups}


@pytest.fixture
def run(tmp_path: Path) -> dict[str, bytes]:
    return files(small_run(tmp_path / "runs").layout.run_dir)


def without(run: dict[str, bytes], prefix: str) -> dict[str, bytes]:
    return {name: content for name, content in run.items() if not name.startswith(prefix)}


def test_nothing_is_there_yet(run: dict[str, bytes]) -> None:
    groups = compared(run, {})
    assert {group.action for group in groups.values()} == {"send", "copy"}
    assert [name for name, group in groups.items() if group.action == "copy"] == [
        "branch-v1/checkpoints/step-00000100",
        "main/checkpoints/step-00000040",
    ]
    names = list(groups)
    assert max(n for n, name in enumerate(names) if name.endswith(("path.json", "ledger"))) < min(
        n for n, name in enumerate(names) if "step-" in name
    ), "what a state belongs to comes before it"


def test_everything_is_there(run: dict[str, bytes]) -> None:
    assert {group.action for group in compared(run, run).values()} == {"skip"}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_part_of_a_run_there_leads_to_the_same_end(data: st.DataObject, complete: dict[str, bytes]) -> None:
    kept = data.draw(st.sets(st.sampled_from(sorted(complete))))
    there = {name: content for name, content in complete.items() if name in kept}
    for group in compared(complete, there).values():
        for name in group.stale:
            there.pop(name, None)
        for file in group.files:
            if file.how == "copy":
                there[file.name] = there[str(file.origin)]
            elif file.how == "send":
                there[file.name] = complete[file.name]
        if group.directory is not None:
            there[f"{group.name}/{group.directory.last}"] = group.directory.listing
    assert there == complete


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files(small_run(tmp_path_factory.mktemp("whole")).layout.run_dir)


@pytest.mark.parametrize("first", ["branch_points", "checkpoints"])
def test_the_same_bytes_under_another_name_are_copied_there(run: dict[str, bytes], first: str) -> None:
    other = {"branch_points": "checkpoints", "checkpoints": "branch_points"}[first]
    group = compared(run, without(run, f"main/{other}/"))[f"main/{other}/step-00000040"]
    assert (group.action, group.bytes_of("send")) == ("copy", 0)
    assert group.why == f"the same bytes as main/{first}/step-00000040"
    assert {file.origin for file in group.files} == {
        f"main/{first}/step-00000040/state.json",
        f"main/{first}/step-00000040/weights.safetensors",
    }


def test_an_incomplete_state_there_vouches_for_no_bytes(run: dict[str, bytes]) -> None:
    there = without(run, "main/checkpoints/step-00000040")
    del there["main/branch_points/step-00000040/manifest.json"]
    groups = compared(run, there)
    assert groups["main/branch_points/step-00000040"].action == "send"
    assert groups["main/branch_points/step-00000040"].bytes_of("keep") == 0
    assert set(groups["main/branch_points/step-00000040"].stale) == {
        "main/branch_points/step-00000040/state.json",
        "main/branch_points/step-00000040/weights.safetensors",
    }


def test_a_broken_push_of_the_same_state_goes_on(run: dict[str, bytes]) -> None:
    directory = "main/checkpoints/step-00000050"
    there = without(run, directory)
    there |= {f"{directory}/{PENDING}": run[f"{directory}/manifest.json"]}
    there |= {f"{directory}/weights.safetensors": run[f"{directory}/weights.safetensors"]}
    group = compared(run, there)[directory]
    assert [(file.name.rpartition("/")[2], file.how) for file in group.files] == [
        ("state.json", "send"),
        ("weights.safetensors", "keep"),
    ]
    assert (group.why, group.stale) == ("continues an unfinished copy", ())
    there[f"{directory}/{PENDING}"] = b"of another state"
    assert compared(run, there)[directory].bytes_of("keep") == 0


def test_marks_of_pushes_that_were_killed_are_removed(run: dict[str, bytes]) -> None:
    complete, gone = "main/checkpoints/step-00000050", "main/checkpoints/step-00000045"
    left = {f"{complete}/{PENDING}", f"{gone}/{PENDING}", f"{gone}/state.json"}
    groups = compared(run, {**run, **dict.fromkeys(left, b"{}")})
    assert {group.action for group in groups.values()} == {"skip"}
    assert {name for group in groups.values() for name in group.stale} == left


def other_state(tmp_path: Path, place: str) -> dict[str, bytes]:
    """The same run with another state of main's step 40 in one place."""
    plan = small_run(tmp_path / "other")
    save(plan, "main", 40, b"another state " * 2000)
    changed = files(plan.layout.run_dir)
    return {name: content for name, content in changed.items() if place in name}


@pytest.mark.parametrize("place", ["checkpoints", "branch_points"])
def test_another_state_of_the_same_step_is_an_error(run: dict[str, bytes], tmp_path: Path, place: str) -> None:
    other = other_state(tmp_path, "main/checkpoints/step-00000040")
    other = {name.replace("checkpoints", place): content for name, content in other.items()}
    expected = rf"nothing was copied:\n  main/{place}/step-00000040 is another state at here than at there"
    with pytest.raises(LineageError, match=expected):
        compared(run, {**run, **other})


def test_a_periodic_one_gives_way_if_the_path_saved_the_step_again(run: dict[str, bytes], tmp_path: Path) -> None:
    plan = small_run(tmp_path / "again")
    before = files(plan.layout.run_dir)
    attempt(plan, "main", 40, 60, (50,))
    save(plan, "main", 50, b"saved again " * 2000)
    later = files(plan.layout.run_dir)
    name = "main/checkpoints/step-00000050"
    group = compared(later, before)[name]
    assert (group.action, group.why) == ("send", "replaces an older state of this step")
    assert group.stale[0] == f"{name}/manifest.json"
    assert set(group.stale) == {f"{name}/{file}" for file in ("manifest.json", "state.json", "weights.safetensors")}
    stale = compared(before, later)[name]
    assert (stale.action, stale.why) == ("skip", "the target's was saved later")


def test_a_pin_never_gives_way_even_if_the_path_saved_the_step_again(tmp_path: Path) -> None:
    plan = small_run(tmp_path / "again")
    before = files(plan.layout.run_dir)
    attempt(plan, "main", 30, 60, (40,))
    pins = plan.layout.path("main").branch_points
    (pins / "step-00000040").rename(tmp_path / "aside")
    save(plan, "main", 40, b"saved again " * 2000, pinned=True)
    with pytest.raises(LineageError, match="main/branch_points/step-00000040 is another state"):
        compared(files(plan.layout.run_dir), before)


def test_a_replaced_state_is_no_source_of_copies(tmp_path: Path) -> None:
    plan = small_run(tmp_path / "again")
    before = files(plan.layout.run_dir)
    attempt(plan, "main", 40, 70, (50, 60))
    save(plan, "main", 50, b"saved again " * 2000)
    # What step 50 was is now the state of another step.
    save(plan, "main", 60, b"main 50 " * 2000)
    later = files(plan.layout.run_dir)
    groups = compared(later, before)
    assert {file.how for file in groups["main/checkpoints/step-00000060"].files} == {"send"}


def test_a_release_is_never_replaced(run: dict[str, bytes], tmp_path: Path) -> None:
    plan = small_run(tmp_path / "other")
    release(plan, "branch-v1", b"another model")
    with pytest.raises(LineageError, match="branch-v1/model is another state"):
        compared(files(plan.layout.run_dir), run)


LEDGER = "main/ledger/000.jsonl"


def test_the_longer_ledger_wins_on_both_sides(run: dict[str, bytes]) -> None:
    lines = run[LEDGER].splitlines(keepends=True)
    shorter = {**run, LEDGER: b"".join(lines[:20])}
    assert compared(run, shorter)["main/ledger"].files[0].content == run[LEDGER]
    assert compared(shorter, run)["main/ledger"].action == "skip"


def test_ledgers_that_contradict_are_an_error(run: dict[str, bytes], tmp_path: Path) -> None:
    other = files(small_run(tmp_path / "other").layout.run_dir)  # the same steps at another time
    with pytest.raises(
        LineageError, match=r"(?s)branch-v1/ledger/000.jsonl of here and of there contradict.*main/ledg"
    ):
        compared(run, {**run, **{name: other[name] for name in other if "ledger" in name}})


def test_a_path_that_went_on_in_two_places_is_found_though_no_file_contradicts(tmp_path: Path) -> None:
    plan = small_plan(tmp_path / "runs")
    attempt(plan, "main", 0, 10, (5,), closed=False)
    here = files(plan.layout.run_dir)
    cut = {**here, LEDGER: b"".join(here[LEDGER].splitlines(keepends=True)[:7])}
    (plan.layout.path("main").ledger / "000.jsonl").write_bytes(cut[LEDGER])
    attempt(plan, "main", 5, 10)
    elsewhere = files(plan.layout.run_dir)
    del here["main/metrics.jsonl"]
    with pytest.raises(LineageError, match=r"001.jsonl:1: .*another machine continued"):
        compared(here, elsewhere)


def test_another_plan_is_an_error(run: dict[str, bytes], tmp_path: Path) -> None:
    plan = small_plan(tmp_path / "other", seed=8)
    attempt(plan, "main", 0, 5)
    with pytest.raises(LineageError, match="main is another path: `seed`: 8 at there, 7 at here; give the plan"):
        compared(run, files(plan.layout.run_dir))
    renamed = {**run, "plan.json": json.dumps({"config": {"name": "other"}}).encode()}
    with pytest.raises(LineageError, match="here is a run of plan 'small', there of plan 'other'"):
        compared(run, renamed)


def test_documents_are_replaced_only_where_it_is_asked_for(run: dict[str, bytes]) -> None:
    there = {**run, "report/index.html": b"older"}
    assert compared(run, there)["report"].action == "send"
    assert "report" not in compared(run, there, replace=False)


def test_the_mark_of_a_run_is_copied_and_never_replaced(run: dict[str, bytes]) -> None:
    here = {**run, "run.json": b'{"mark": "5eed0001"}'}
    assert compared(here, run)["run.json"].action == "send"
    assert compared(here, {**run, "run.json": b'{"mark": "5eed0002"}'})["run.json"].action == "skip"


def test_the_losses_of_held_out_sequences_go_with_their_path(run: dict[str, bytes]) -> None:
    here = {**run, "main/heldout/step-00000040-v1.f32": b"1234", "branch-v1/heldout/step-00000100-v1.f32": b"5678"}
    groups = compared(here, run)
    assert (groups["main/heldout"].action, groups["branch-v1/heldout"].action) == ("send", "send")
    assert compared(here, here)["main/heldout"].action == "skip"
