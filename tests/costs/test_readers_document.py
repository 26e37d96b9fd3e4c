"""Everything in a run that contains text of one source."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lrps.base.document import to_json
from lrps.base.document_schema import json_schema
from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.costs.readers_document import ReadersDocument, readers_document
from lrps.ledger.writer import book_event
from lrps.plan.plan import Plan
from lrps.report.readers_text import print_readers
from support.synthetic_run import PARADIGMS, plan_of, position_off, train

REHEARSING = {
    "path-switching": {"alpha": 0.6, "mix": {"new": 0.7, "rehearsal": 0.3}},
    "ptfs": {},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = plan_of(tmp_path_factory.mktemp("readers"), [10, 12, 11], PARADIGMS)
    train(plan, [(3, "stop"), (6, "kill")], names=["main", "branch-v1", "branch-v2", "ptfs-v1"])
    return plan


@pytest.fixture
def copied(finished: Plan, tmp_path: Path) -> Plan:
    """A copy of the finished plan that a test may change."""
    shutil.copytree(finished.layout.run_dir, tmp_path / finished.config.name)
    return replace(finished, config=finished.config.model_copy(update={"runs": tmp_path}))


def test_paths_and_releases_that_contain_a_source(finished: Plan) -> None:
    document = readers_document(finished, "v2")
    paths = {path.name: path for path in document.paths}
    assert document.proved
    assert paths["main"].read is not None
    assert paths["main"].read.sequences == 2 * 12, "all of v2, on the way to the fork of v3"
    assert paths["main"].sequences_to_come == 0
    assert "branch-v1" not in paths, "it never reads v2"
    assert paths["branch-v2"].read is not None
    for name in ("branch-v3", "ptfs-v2", "cpt-v2"):
        assert (paths[name].read, paths[name].step) == (None, None)
        assert paths[name].sequences_to_come > 0, "it is not begun"
    assert [(each.version, each.path, each.paradigms) for each in document.releases] == [
        ("v2", "branch-v2", ("path-switching",))
    ]
    read = paths["branch-v2"].read
    # The main path reads 5 steps of v2 up to the fork, the branch 7 steps, of which 70 % are new.
    assert (document.releases[0].read, read.sequences) == (read, 2 * 5 + 10)


def test_a_release_has_its_source_from_its_ancestors(finished: Plan) -> None:
    (release,) = (each for each in readers_document(finished, "v1").releases if each.path == "branch-v2")
    fork = finished.graph.by_name["branch-v2"].start
    assert release.read.sequences >= 20
    assert release.read.first_step == 1
    assert fork > 10 >= 1, "v1 ends before the fork"


def test_what_was_trained_under_another_plan_is_shown_too(copied: Plan) -> None:
    values = copied.config.model_dump(mode="json")
    values["schedule"]["peak_lr"] = 0.5
    changed = replace(copied, config=Config.model_validate(values))
    paths = {path.name: path for path in readers_document(changed, "v2").paths}
    assert (paths["main"].in_plan, paths["main"].sequences_to_come) == (False, 0)
    assert paths["main"].read is not None


def test_an_unknown_source_is_refused_with_the_nearest_name(finished: Plan) -> None:
    with pytest.raises(ConfigError, match="v22 is no version and no rehearsal set: .*; did you mean v2"):
        readers_document(finished, "v22")


def test_before_anything_is_trained_all_of_it_is_to_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(tmp_path, [10, 12, 11], PARADIGMS)
    document = readers_document(plan, "v3")
    assert {path.read for path in document.paths} == {None}
    assert {"branch-v3", "ptfs-v3", "cpt-v3"} <= {path.name for path in document.paths}
    print_readers(document)
    text = " ".join(capsys.readouterr().out.split())
    assert "contains a sequence of it." in text
    assert "Would read it if trained further: " in text


def test_exports_of_states_that_contain_it(copied: Plan) -> None:
    stop = copied.graph.by_name["branch-v2"].stop
    book_event(copied.layout.ledger, "export", stop, 1.0, path="branch-v2", directory="/models/two", bytes=1)
    stop = copied.graph.by_name["branch-v1"].stop
    book_event(copied.layout.ledger, "export", stop, 1.0, path="branch-v1", directory="/models/one", bytes=1)
    assert [each.directory for each in readers_document(copied, "v2").exports] == ["/models/two"]
    assert [each.directory for each in readers_document(copied, "v1").exports] == ["/models/two", "/models/one"]


def test_sets_that_models_wrote_after_it(copied: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    def written(**provenance: Any) -> Plan:
        made = replace(copied.manifests["r1"], provenance=provenance)
        return replace(copied, manifests={**copied.manifests, "r1": made})

    after_v1 = written(of={"v1": "0" * 64}, base={"name": "elsewhere"}, latest={"name": "path-switching/v2"})
    (derived,) = readers_document(after_v1, "v1").derived
    assert (derived.name, derived.demonstrations, derived.models) == ("r1", True, ("path-switching/v2",))
    (derived,) = readers_document(after_v1, "v2").derived
    assert (derived.demonstrations, derived.models) == (False, ("path-switching/v2",))
    assert readers_document(after_v1, "v3").derived == (), "path-switching/v2 has never read it"
    print_readers(readers_document(after_v1, "v1"))
    text = " ".join(capsys.readouterr().out.split())
    assert "r1 has demonstrations from v1 and was written by path-switching/v2, which has read v1" in text


@pytest.mark.parametrize(("sha256", "same"), [("own", True), ("f" * 64, False)])
def test_the_model_that_the_plan_starts_from_may_have_read_it(
    copied: Plan, tmp_path: Path, sha256: str, same: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    bought = tmp_path / "bought"
    bought.mkdir()
    manifest_sha256 = copied.manifests["v1"].sha256 if sha256 == "own" else sha256
    data = [{"name": "v1", "manifest_sha256": manifest_sha256, "rows": 21, "read_rows": 17}]
    (bought / "lrps.json").write_text(json.dumps({"format": "lrps-export/1", "data": data}))
    model = copied.config.model.model_copy(update={"architecture": None, "checkpoint": bought})
    plan = replace(copied, config=copied.config.model_copy(update={"model": model}))
    initial = readers_document(plan, "v1").initial
    assert initial is not None
    assert (initial.sequences, initial.same_data, initial.where) == (17, same, str(bought))
    assert readers_document(plan, "v2").initial is None
    print_readers(readers_document(plan, "v1"))
    assert "which has read 17 sequences of" in " ".join(capsys.readouterr().out.split())


def test_a_state_of_another_run_says_how_far_it_had_read(tmp_path: Path) -> None:
    state = tmp_path / "step-00000010"
    state.mkdir()
    identity = {"path": "main", "positions": {"v1": 20}}
    (state / "manifest.json").write_text(json.dumps({"format": "lrps-checkpoint/1", "identity": identity}))
    plan = plan_of(tmp_path / "runs", [10, 12, 11], PARADIGMS)
    model = plan.config.model.model_copy(update={"initial_state": state})
    plan = replace(plan, config=plan.config.model_copy(update={"model": model}))
    initial = readers_document(plan, "v1").initial
    assert initial is not None
    assert (initial.sequences, initial.same_data) == (20, None)
    assert readers_document(plan, "v2").initial is None


def test_a_contradiction_in_the_run_is_shown(copied: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    position_off(copied.layout.run_dir)
    document = readers_document(copied, "v2")
    assert not document.proved
    assert "position" in (document.difference or "")
    print_readers(document)
    assert "NOT PROVED, so this list may be incomplete" in " ".join(capsys.readouterr().out.split())


def test_a_rehearsal_set_has_readers(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [10, 12], REHEARSING)
    train(plan, names=["main", "branch-v1"])
    document = readers_document(plan, "r1")
    assert [each.path for each in document.releases] == ["branch-v1"]
    assert {path.name: path.read is not None for path in document.paths} == {"branch-v1": True, "branch-v2": False}


def test_the_schema_describes_it(finished: Plan) -> None:
    document = json.loads(json.dumps(to_json(readers_document(finished, "v1"))))
    assert document["format"] == "lrps-readers/1"
    Draft202012Validator(json_schema(ReadersDocument)).validate(document)
