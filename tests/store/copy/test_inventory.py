"""Whatever a place holds, only what a run directory has is seen, and only what is whole counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import TransferError
from lrps.store.copy.inventory import LARGEST_FILE, LARGEST_LOG, LARGEST_SUM, PENDING, list_inventory
from lrps.store.copy.run_store import DirectoryStore
from support.run_builder import files, small_run


class Held:
    """A place in memory: names and contents of any kind, as an object store may have them."""

    label = "somewhere"

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents

    def sizes(self) -> dict[str, int]:
        return {name: len(content) for name, content in self.contents.items()}

    def read(self, name: str) -> bytes | None:
        return self.contents.get(name)


@pytest.fixture
def run(tmp_path: Path) -> dict[str, bytes]:
    return files(small_run(tmp_path).layout.run_dir)


def test_a_run_is_seen_whole_and_its_leftovers_are_not(tmp_path: Path) -> None:
    found = list_inventory(DirectoryStore(small_run(tmp_path).layout.run_dir))
    assert sorted(found.identities) == ["branch-v1", "main"]
    assert list(found.ledger("main")) == ["main/ledger/000.jsonl"]
    assert [each.step for each in found.complete("main", "checkpoints")] == [30, 40, 50, 60]
    assert [each.step for each in found.complete("main", "branch_points")] == [40]
    assert [each.name for each in found.complete("branch-v1", "model")] == ["branch-v1/model"]
    assert sorted(found.documents) == ["plan.json", "report/figures/loss.svg", "report/index.html"]
    broken = [each for each in found.directories.values() if each.fault]
    assert [(each.name, each.fault) for each in broken] == [
        ("main/checkpoints/step-00000070", "incomplete: it has no manifest.json")
    ]
    names = [*found.directories, *found.logs, *found.documents]
    assert not [name for name in names if ".tmp-" in name or ".pruned-" in name or "lock" in name]


@pytest.mark.parametrize(
    "name",
    [
        *("../outside/path.json", "/etc/path.json", "main/../../path.json", "main/./path.json", "//path.json"),
        *("..", "main/ledger/../../../000.jsonl", "main/checkpoints/../step-00000001/x", ".ssh/path.json"),
        *("main/checkpoints/step-00000010/../../x", "main/checkpoints/step-00000010/.ssh", "report/../../x"),
        *("main/checkpoints/step-00000010/a/b", "main\\path.json", "main/path.json\n", "-rf/path.json"),
        *("main/lock", "main/ledger/000.jsonl.tmp", "main/checkpoints/.tmp-step-00000010/manifest.json", "shadow"),
    ],
)
def test_a_name_that_no_run_has_is_not_seen(name: str) -> None:
    found = list_inventory(Held({name: b"{}\n"}))
    assert not any((found.directories, found.identities, found.logs, found.documents))


@given(st.text(alphabet="./\\ab-step0 main\n~", max_size=30))
def test_no_name_leads_out_of_a_run(name: str) -> None:
    found = list_inventory(Held({name: b"x\n", f"main/{name}": b"x\n", f"{name}/path.json": b"x\n"}))
    seen = [*found.directories, *found.logs, *found.documents, *(f"{path}/path.json" for path in found.identities)]
    root = Path("/run")
    assert all((root / each).resolve().is_relative_to(root) and ".." not in each.split("/") for each in seen)


def test_a_manifest_cannot_name_files_elsewhere(run: dict[str, bytes]) -> None:
    model = b'{"files": {"../../../home/.bashrc": {"bytes": 1, "sha256": "0"}}}'
    found = list_inventory(Held({**run, "branch-v1/model/lrps.json": model}))
    assert "which a run does not have" in str(found.directories["branch-v1/model"].fault)
    model = b'{"files": {"a": {"bytes": 5, "segments": []}}}'
    found = list_inventory(Held({**run, "branch-v1/model/lrps.json": model}))
    assert "lists a: its segments have 0 bytes in all" in str(found.directories["branch-v1/model"].fault)
    found = list_inventory(Held({**run, "branch-v1/model/lrps.json": b'{"files": {"lrps.json": 1}}'}))
    assert "cannot be read" in str(found.directories["branch-v1/model"].fault)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff", b'{"format": "lrps-checkpoint/1"}'])
def test_a_torn_manifest_is_no_checkpoint(run: dict[str, bytes], content: bytes) -> None:
    found = list_inventory(Held({**run, "main/checkpoints/step-00000050/manifest.json": content}))
    assert found.directories["main/checkpoints/step-00000050"].fault
    assert [each.step for each in found.complete("main", "checkpoints")] == [30, 40, 60]


def test_a_file_of_another_size_is_no_checkpoint(run: dict[str, bytes]) -> None:
    found = list_inventory(Held({**run, "main/checkpoints/step-00000050/state.json": b"short"}))
    assert "state.json is missing or not" in str(found.directories["main/checkpoints/step-00000050"].fault)


def test_a_torn_last_line_does_not_count(run: dict[str, bytes]) -> None:
    name = "main/ledger/000.jsonl"
    assert list_inventory(Held({**run, name: run[name] + b'{"sha'})).logs == list_inventory(Held(run)).logs


def test_what_is_on_its_way_says_so(run: dict[str, bytes]) -> None:
    directory = "main/checkpoints/step-00000050"
    listing = run.pop(f"{directory}/manifest.json")
    found = list_inventory(Held({**run, f"{directory}/{PENDING}": listing})).directories[directory]
    assert found.pending == listing
    assert sorted(found.present) == ["state.json", "weights.safetensors"]


@pytest.mark.parametrize(
    ("sizes", "fault"),
    [
        (
            {"main/metrics.jsonl": LARGEST_LOG + 1},
            "main/metrics.jsonl has 2,147,483,649 bytes, and at most 2,147,483,648",
        ),
        ({"main/ledger/007.jsonl": LARGEST_LOG + 1}, "main/ledger/007.jsonl has"),
        ({"plan.json": LARGEST_FILE + 1}, "plan.json has 268,435,457 bytes, and at most 268,435,456"),
        ({"main/checkpoints/step-00000030/manifest.json": LARGEST_FILE + 1}, "manifest.json has"),
        ({"branch-v1/model/lrps.json": LARGEST_FILE + 1}, "lrps.json has"),
        ({f"{name}/metrics.jsonl": LARGEST_SUM // 4 for name in "abcd"}, "in all, and at most 8,589,934,592"),
    ],
)
def test_a_file_that_memory_does_not_hold_is_not_read(sizes: dict[str, int], fault: str) -> None:
    class Huge(Held):
        def sizes(self) -> dict[str, int]:
            return {**super().sizes(), **sizes}

        def read(self, name: str) -> bytes | None:
            raise AssertionError(f"{name} was read")

    with pytest.raises(TransferError, match=f"somewhere: .*{fault}"):
        list_inventory(Huge({"main/path.json": b"{}"}))


def test_data_of_any_size_is_listed(run: dict[str, bytes]) -> None:
    class Large(Held):
        def sizes(self) -> dict[str, int]:
            return {**super().sizes(), "main/checkpoints/step-00000030/fragments.safetensors": 2**50}

    assert "main" in list_inventory(Large(run)).identities
