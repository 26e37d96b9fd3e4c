"""Released merges: made once the main path is trained, from states that stay, and evaluated like any other release."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from lrps.audit.run import audit_run
from lrps.base.errors import CheckpointError, NonFiniteLoss
from lrps.config.loader import load_config
from lrps.costs.comparison import make_comparison
from lrps.data.build.build import build_data
from lrps.data.open_source import open_source
from lrps.engine.averages import merged_state
from lrps.engine.averages.merge import NonFiniteStateError, write_mean
from lrps.engine.averages.merged_state import ensure_merged
from lrps.engine.state_files.reading import open_state
from lrps.export.release import ExportFormat, export_state
from lrps.export.states import chosen_states
from lrps.ledger.check import check_run
from lrps.ledger.reader import MERGE, evaluations, read_ledger
from lrps.ledger.records import Record
from lrps.paths.amendments import Amendment
from lrps.plan.initial import initial_checkpoint
from lrps.plan.plan import Plan, make_plan
from lrps.plan.prune import prune_run
from lrps.plan.released_state import find_state
from lrps.plan.rewind import rewind
from lrps.plan.status import missing_merges, missing_of_form, path_status
from lrps.store.checkpoints import Checkpoint, find, open_checkpoint
from lrps.store.copy.inventory import list_inventory
from lrps.store.copy.mirror import compare_inventories
from lrps.store.copy.transfer import push_run
from support.plain_engine import PlainEngine, run
from support.run_builder import files

Make = Callable[..., Plan]
MERGED = "paradigms={path-switching: {release: merge}}"


@pytest.fixture
def make(tiny_config: Path, tmp_path: Path) -> Make:
    """make("key=value", ..., runs="runs") -> the tiny plan with its run below tmp_path: 20 steps a version."""

    def make(*settings: str, runs: str = "runs") -> Plan:
        return make_plan(load_config(tiny_config, [f"runs={tmp_path / runs}", MERGED, *settings]))

    return make


def merges(plan: Plan) -> list[Record]:
    """The records of merges in the run's own ledger."""
    return [record for record in read_ledger(plan.layout.ledger) if record.kind == "merge"]


def merged(plan: Plan, version: str) -> Checkpoint:
    return open_checkpoint(plan.layout.path("main").merged / version)


def test_a_version_is_the_mean_of_states_of_the_main_path(make: Make) -> None:
    plan = make()
    assert [path.name for path in plan.graph.paths] == ["main"]
    assert run(plan, "main")
    status = path_status(plan, plan.graph.by_name["main"])
    assert (status.state, status.step) == ("complete", 40)
    layout, steps = plan.layout.path("main"), {"v1": (19, 20), "v2": (37, 38, 39, 40)}
    for version, averaged in steps.items():
        states = [find(layout, step) for step in averaged]
        assert merged(plan, version).merged == tuple((each.step, each.digest) for each in states)
        with open_state(merged(plan, version).directory) as mean:
            for name in mean.shapes:
                stack = []
                for each in states:
                    with open_state(each.directory) as one:
                        stack.append(one.read(name).double())
                assert torch.equal(mean.read(name), torch.stack(stack).mean(0).float())
    lineages = [[(step, find(layout, step).digest) for step in averaged] for averaged in steps.values()]
    assert [list(map(tuple, record.facts["merged"])) for record in merges(plan)] == lineages
    assert [(record.step, record.facts["version"]) for record in merges(plan)] == [(20, "v1"), (40, "v2")]
    assert set(evaluations(read_ledger(layout.ledger))) == {
        *((20, version, "merge") for version in ("v1", "v2")),
        *((40, version, "merge") for version in ("v1", "v2")),
    }
    assert audit_run(plan.layout.run_dir).ok
    assert run(plan, "main")
    assert len(merges(plan)) == 2, "nothing is left to do"


def test_the_comparison_and_the_export_have_the_losses_of_the_merge(make: Make) -> None:
    plan = make("paradigms={path-switching: {release_per_version: {v2: merge}}}")
    assert run(plan, "main", "branch-v1")
    (v1, v2) = make_comparison(plan).paradigms["path-switching"].releases
    assert [(each.path, each.form) for each in (v1, v2)] == [("branch-v1", "raw"), ("main", "merge")]
    assert [each.cost.lineage.steps for each in (v1, v2)] == [20, 40]
    (state,) = chosen_states(plan, ["main"])
    assert (state.versions, state.form_in_words) == (("v2",), "merge of 4 states")
    directory = state.directory(plan.layout.path("main"))
    assert directory.name == "model-merge-step-00000040"
    assert export_state(plan, state, directory, ExportFormat("fp32")).made
    assert not export_state(plan, state, directory, ExportFormat("fp32")).made
    model = AutoModelForCausalLM.from_pretrained(directory)
    for version, loss in v2.heldout.items():
        source = open_source(plan.heldout[version], plan.config.data, seed=0)
        rows = torch.from_numpy(source.read(np.arange(loss.rows)).astype(np.int64))
        with torch.no_grad():
            assert float(model(input_ids=rows, labels=rows).loss) == pytest.approx(loss.loss, rel=1e-5)
        assert f"| {version} | {loss.loss:.4f} |" in (directory / "README.md").read_text()


class Killed(BaseException):
    """The end of a process in the middle of its work."""


@pytest.mark.parametrize(
    "act",
    ["write_mean", "publish", *(pytest.param(act, marks=pytest.mark.long) for act in ("write_small", "book_event"))],
)
def test_a_merge_that_is_killed_is_made_again_byte_for_byte(
    make: Make, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    undisturbed, plan = make(runs="undisturbed"), make()
    assert run(undisturbed, "main")
    with monkeypatch.context() as patch:
        real, calls = getattr(merged_state, act), []

        def killed(*arguments: object, **more: object) -> object:
            calls.append(act)
            found = real(*arguments, **more)
            if len(calls) == 2:  # That of version 1 is made.
                raise Killed
            return found

        patch.setattr(merged_state, act, killed)
        with pytest.raises(Killed):
            run(plan, "main")
    # A process that is killed leaves its temporary directory too.
    (plan.layout.path("main").merged / ".tmp-v2").mkdir(exist_ok=True)
    (plan.layout.path("main").merged / ".tmp-v2" / "fragments-00000-of-00001.safetensors").write_bytes(b"half")
    main = plan.graph.by_name["main"]
    assert path_status(plan, main).state == "trained"
    assert [release.version for release in missing_of_form(plan, main, "merge")] == ["v2"]
    assert run(plan, "main")
    assert path_status(plan, main).state == "complete"
    for version in ("v1", "v2"):
        assert merged(plan, version).manifest["files"] == merged(undisturbed, version).manifest["files"]
    assert sorted(each.name for each in plan.layout.path("main").merged.iterdir()) == ["lock", "v1", "v2"]
    assert [check.fault for check in check_run(plan.layout.run_dir) if check.fault] == []


def test_a_damaged_or_outdated_merge_is_made_again(make: Make) -> None:
    plan = make()
    assert run(plan, "main")
    _, release = plan.graph.releases
    before = merged(plan, "v2")
    assert ensure_merged(plan.layout, release).digest == before.digest
    assert len(merges(plan)) == 2
    (file,) = before.directory.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    assert ensure_merged(plan.layout, release).digest == before.digest
    assert len(merges(plan)) == 3
    other = find(plan.layout.path("main"), 39).directory
    for place in (other, plan.layout.path("main").checkpoints / other.name):
        if place.exists():
            for each in (*place.iterdir(), place):
                each.chmod(0o755)
            place.rename(place.with_name(f"away-{place.parent.name}"))
    assert ensure_merged(plan.layout, release).digest == before.digest, "what was made of it stays released"


def test_a_path_that_has_passed_the_states_of_a_merge_says_what_to_do(make: Make) -> None:
    raw = make("paradigms={path-switching: {release: main}}")
    assert run(raw, "main")
    assert path_status(raw, raw.graph.by_name["main"]).state == "complete"
    plan = make()
    with pytest.raises(
        CheckpointError, match=r"at steps 19, 20, and there is no complete one of 19: .*release_per_ver"
    ):
        run(plan, "main")
    assert run(make("paradigms.path-switching.release_per_version={v1: main, v2: main}"), "main")


def test_a_merge_grows_with_the_plan(make: Make) -> None:
    one = "data.versions=[{name: v1, tokens: 1280}]"
    assert run(make(one), "main")
    first = merged(make(), "v1").digest
    plan = make()
    assert run(plan, "main")
    assert (merged(plan, "v1").digest, len(merges(plan))) == (first, 2)
    # v1 is evaluated on the held-out set of v2 as well, once that exists.
    assert (20, "v2", "merge") in evaluations(read_ledger(plan.layout.path("main").ledger))


def test_nothing_is_trained_from_a_merge(make: Make) -> None:
    plan = make()
    assert run(plan, "main")
    v2 = merged(plan, "v2")
    other = make(f"model.initial_state={v2.directory}", runs="other")
    with pytest.raises(CheckpointError, match="is a merge of the states of steps 37, 38, 39, 40: it has weights only"):
        initial_checkpoint(other.config.model)
    with pytest.raises(CheckpointError, match="no training continues from it"):
        run(other, "main")
    layout = plan.layout.path("main")
    (layout.merged / "v2").rename(layout.checkpoints / "step-00000050")
    with pytest.raises(CheckpointError, match="holds the merged state of v2: give the directory its own name back"):
        open_checkpoint(layout.checkpoints / "step-00000050")


@pytest.fixture
def unheld(tiny_config: Path, tmp_path: Path) -> list[str]:
    """Settings of a plan without held-out sets, whose shards are there."""
    settings = ["data.heldout_share=0", f"data.root={tmp_path / 'unheld'}"]
    build_data(load_config(tiny_config, settings))
    return settings


def test_a_merge_is_made_where_no_heldout_set_exists(make: Make, unheld: list[str]) -> None:
    plan = make(*unheld)
    main = plan.graph.by_name["main"]
    assert not run(plan, "main", stop_after=39)
    assert [release.version for release in missing_merges(plan, main)] == ["v1", "v2"]
    assert run(plan, "main")
    assert [merged(plan, version).step for version in ("v1", "v2")] == [20, 40]
    assert path_status(plan, main).state == "complete"
    shutil.rmtree(merged(plan, "v1").directory)
    assert path_status(plan, main).state == "trained"
    assert run(plan, "main")
    assert [record.facts["version"] for record in merges(plan)] == ["v1", "v2", "v1"]


def test_no_merge_is_made_of_a_state_whose_weights_are_not_finite(make: Make, unheld: list[str]) -> None:
    """The guard passes the last two steps, so that no loss shows what the step before them has done."""
    undisturbed, plan = (make(*unheld, "guard.action=skip", runs=runs) for runs in ("undisturbed", "broken"))
    assert run(undisturbed, "main")
    layout = plan.layout.path("main")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlainEngine, "rates", {37: math.nan})
        with pytest.raises(NonFiniteLoss, match=r"main: v2, a merge .* is not made: .*its weights are not finite"):
            run(plan, "main")
    assert not (layout.merged / "v2").exists()
    broken = [find(layout, step).directory for step in (37, 38)]
    with pytest.raises(NonFiniteStateError, match=f"{broken[1]}: its weights are not finite"):
        write_mean(broken, layout.directory)
    assert run(plan, "main")
    for version in ("v1", "v2"):
        assert merged(plan, version).manifest["files"] == merged(undisturbed, version).manifest["files"]


def test_prune_push_and_pull_know_merged_states(make: Make) -> None:
    plan = make()
    assert run(plan, "main")
    found = {(each.directory.parent.name, each.directory.name): each for each in prune_run(plan, dry_run=True).found}
    for version in ("v1", "v2"):
        kept = found["merged", version]
        assert (kept.goes, kept.reason) == (False, f"release {version}")
    assert found["branch_points", "step-00000037"].reason == "merge of v2"
    here = files(plan.layout.run_dir)
    groups = compare_inventories(inventory(here), inventory({}), replace_documents=True)
    assert {"main/merged/v1", "main/merged/v2"} <= {group.name for group in groups}
    again = compare_inventories(inventory(here), inventory(here), replace_documents=True)
    assert {group.action for group in again} == {"skip"}
    damaged = next(merged(plan, "v1").directory.glob("*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x01")
    reasons = {each.directory.name: each.reason for each in prune_run(plan, dry_run=True, damaged=True).found}
    assert "its SHA-256 is not the manifest's (release v1)" in reasons["v1"]


def inventory(contents: dict[str, bytes]) -> object:
    class Held:
        label = "there"

        def sizes(self) -> dict[str, int]:
            return {name: len(content) for name, content in contents.items()}

        def read(self, name: str) -> bytes | None:
            return contents.get(name)

    return list_inventory(Held())


def test_a_merge_of_states_that_a_rewind_abandoned_is_no_release(make: Make, tmp_path: Path) -> None:
    plan = make()
    assert run(plan, "main")
    there, before = tmp_path / "there", merged(plan, "v2").merged
    push_run(plan.layout.run_dir, str(there))
    rewind(plan, "main", Amendment(20, peak_lr=1e-3))
    again = replace(plan)
    with pytest.raises(CheckpointError, match="a rewind has abandoned"):
        find_state(again, "main", 40, MERGE)
    assert find_state(again, "main", 20, MERGE).merged == merged(plan, "v1").merged, "its states are in force"
    assert run(again, "main")
    assert merged(again, "v2").merged != before
    assert find_state(again, "main", 40, MERGE).step == 40
    push_run(plan.layout.run_dir, str(there))
    assert open_checkpoint(there / "main" / "merged" / "v2").merged == merged(again, "v2").merged
