"""A release is the state that was trained, whole, explained, and never half there."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lrps.base.errors import CheckpointError, ConfigError, DataError, LineageError
from lrps.base.files import sha256_file
from lrps.engine.model import build_model
from lrps.export.release import ExportFormat, export_state, release_tokenizer
from lrps.export.states import chosen_states
from lrps.plan.plan import Plan
from lrps.store import checkpoints
from lrps.store.checkpoints import find
from lrps.store.identity import weights_digest
from lrps.store.layout import RELEASE_FACTS
from support.tokenizers import load_tokenizer

ROWS = torch.arange(48).view(3, 16)


def export(plan: Plan, name: str, step: int | None = None, *, dtype: str = "fp32", **options: Any) -> Any:
    (state,) = chosen_states(plan, [name], step=step)
    directory = options.pop("directory", None) or state.directory(plan.layout.path(name))
    shard = options.pop("max_shard_bytes", 5 * 10**9)
    return export_state(plan, state, directory, ExportFormat(dtype, shard), **options)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ROWS).logits


def contents(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in sorted(directory.iterdir())}


@pytest.mark.parametrize(("name", "step"), [("branch-v2", None), ("main", 28), ("main", 8)])
def test_a_release_and_a_branch_point_compute_what_was_trained(
    plan: Plan, truth: Callable[..., Any], name: str, step: int | None
) -> None:
    exported = export(plan, name, step)
    assert exported.made
    assert exported.directory == plan.layout.path(name).directory / (
        "model" if step is None else f"model-step-{step:08d}"
    )
    there = AutoModelForCausalLM.from_pretrained(exported.directory)
    assert torch.equal(logits(there), logits(truth(plan, name, step or 40)))
    tokenizer = AutoTokenizer.from_pretrained(exported.directory)
    generated = there.generate(**tokenizer("path switch", return_tensors="pt"), max_new_tokens=5, do_sample=False)
    assert tokenizer.decode(generated[0]).startswith("path switch")


def test_facts_name_the_state_and_every_file(plan: Plan) -> None:
    exported = export(plan, "branch-v2", max_shard_bytes=10_000)
    facts = json.loads((exported.directory / RELEASE_FACTS).read_text())
    files = {file.name: file for file in exported.directory.iterdir() if file.name != RELEASE_FACTS}
    assert facts["files"] == {n: {"bytes": f.stat().st_size, "sha256": sha256_file(f)} for n, f in files.items()}
    assert {"README.md", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} < set(
        files
    )
    assert exported.bytes == sum(file.stat().st_size for file in exported.directory.iterdir())
    assert facts["state"]["checkpoint"] == facts["checkpoint"]["digest"]


def test_a_second_export_changes_nothing(plan: Plan) -> None:
    first = export(plan, "branch-v1")
    before = contents(first.directory)
    again = export(plan, "branch-v1")
    assert (again.made, again.bytes) == (False, first.bytes)
    assert contents(first.directory) == before
    forced = export(plan, "branch-v1", force=True)
    assert forced.made
    assert {n: data for n, (_, data) in contents(first.directory).items()} == {n: d for n, (_, d) in before.items()}


@pytest.mark.parametrize("how", [{"dtype": "bf16"}, {"max_shard_bytes": 10_000}], ids=str)
def test_another_form_is_refused_unless_forced(plan: Plan, how: dict[str, Any]) -> None:
    first = export(plan, "branch-v1")
    before = contents(first.directory)
    with pytest.raises(CheckpointError, match="has another state, or the same in another form"):
        export(plan, "branch-v1", **how)
    assert contents(first.directory) == before
    assert export(plan, "branch-v1", **how, force=True).made
    assert contents(first.directory) != before
    assert not export(plan, "branch-v1", **how).made
    assert sorted(p.name for p in first.directory.parent.glob("*model*")) == ["model"], "nothing is left over"


def test_another_state_and_a_torn_export_are_refused(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(plan, "branch-v1", directory=out)
    with pytest.raises(CheckpointError, match="has another state"):
        export(plan, "branch-v2", directory=out)
    (out / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="--force to replace it"):
        export(plan, "branch-v1", directory=out)


def test_what_others_put_there_is_never_replaced(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    for force in (False, True):
        with pytest.raises(CheckpointError, match="has files that `lrps export` did not write"):
            export(plan, "branch-v1", directory=tmp_path / "home", force=force)
    (tmp_path / "empty").mkdir()
    assert export(plan, "branch-v1", directory=tmp_path / "empty").made


def test_a_full_disk_leaves_nothing(plan: Plan) -> None:
    kept = export(plan, "branch-v1").directory
    before = contents(kept)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"cannot export to .*model: .*then run again"):
            export(plan, "branch-v1", dtype="bf16", force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(kept) == before
    assert [path.name for path in kept.parent.glob("*model*")] == ["model"]


def test_what_a_crash_left_is_in_nobodys_way(plan: Plan) -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    left = plan.layout.path("branch-v1").directory / f".tmp-model.{socket.gethostname()}.{dead.pid}"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert "half" not in {data for _, data in contents(export(plan, "branch-v1").directory).values()}
    assert not left.exists()


def test_a_step_that_was_not_saved_names_those_that_were(plan: Plan) -> None:
    with pytest.raises(CheckpointError, match="has no checkpoint of step 9; complete are steps 8, 28"):
        export(plan, "main", 9)
    shutil.rmtree(plan.layout.path("branch-v2").directory)
    with pytest.raises(CheckpointError, match=r"has no checkpoint of step 40; there is none yet. Train the path first"):
        export(plan, "branch-v2")


def test_a_damaged_checkpoint_is_refused(plan: Plan, damaged: Callable[..., Path]) -> None:
    file = damaged(plan, "branch-v2", 40)
    with pytest.raises(CheckpointError, match=f"{file.name}, bytes 0 to .* is damaged"):
        export(plan, "branch-v2")
    assert not plan.layout.path("branch-v2").model.exists()


def test_another_plan_is_refused(make: Callable[..., Plan]) -> None:
    with pytest.raises(LineageError, match="`seed`: the run was begun with 7, the config says 8"):
        export(make("seed=8"), "branch-v2")


def test_a_checkpoint_that_was_put_there_is_refused(make: Callable[..., Plan]) -> None:
    plan = make()
    other = make("name=other", "seed=8")
    shutil.copytree(plan.layout.run_dir, other.layout.run_dir)
    for path in other.graph.paths:
        layout = other.layout.path(path.name)
        layout.path_json.write_text(json.dumps(other.identity(path)))
    with pytest.raises(CheckpointError, match=r"is of another plan \(tiny, path branch-v2\)"):
        export(other, "branch-v2")


@pytest.mark.parametrize(("name", "step"), [("main", 28), ("branch-v2", 39)])
def test_a_state_of_another_path_or_step_is_refused(plan: Plan, name: str, step: int) -> None:
    there = find(plan.layout.path("branch-v2"), 40)
    identity = {**there.identity, "path": name, "step": 40 if name == "main" else step}
    place = there.directory.parent
    there.directory.rename(place / "taken")
    temporary = checkpoints.begin(place, 40)
    for file in there.manifest["files"]:
        shutil.copyfile(place / "taken" / file, temporary / file)
    checkpoints.publish(temporary, 40, there.manifest["files"], identity)
    with pytest.raises(CheckpointError, match=f"is the state of path {name} at step {identity['step']}, not of branch"):
        export(plan, "branch-v2")


def test_no_tokenizer_and_another_one_are_refused(make: Callable[..., Plan], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read a tokenizer"):
        export(make(f"data.tokenizer={tmp_path / 'none.json'}"), "branch-v2")
    plan = make()
    (tmp_path / "other.json").write_text(plan.config.data.tokenizer_path.read_text() + " ")
    with pytest.raises(DataError, match="is not the tokenizer that made the shards"):
        export(make(f"data.tokenizer={tmp_path / 'other.json'}"), "branch-v2")


def test_a_copied_run_without_shards_needs_its_tokenizer_only(make: Callable[..., Plan], tmp_path: Path) -> None:
    whole = make()
    expected = contents(export(whole, "branch-v2", directory=tmp_path / "expected").directory)
    tokenizer = whole.config.data.tokenizer_path
    bare = make(f"data.root={tmp_path / 'elsewhere'}", f"data.tokenizer={tokenizer}")
    assert bare.manifests == {}
    there = contents(export(bare, "branch-v2").directory)
    assert {name: data for name, (_, data) in there.items()} == {name: data for name, (_, data) in expected.items()}
    other = tmp_path / "other.json"
    other.write_text(tokenizer.read_text() + " ")
    with pytest.raises((CheckpointError, LineageError), match="plan"):
        export(make(f"data.root={tmp_path / 'elsewhere'}", f"data.tokenizer={other}"), "main", 8)


def test_the_shards_say_which_token_ended_documents(make: Callable[..., Plan], tmp_path: Path) -> None:
    """Also for a plan that is read from its run directory, which has no manifests."""
    plan = make()
    shutil.copy(plan.config.data.tokenizer_path, tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "!"}')
    beside = make(f"data.tokenizer={tmp_path / 'tokenizer.json'}")
    for known in (beside, replace(beside, manifests={})):
        assert release_tokenizer(known).end == "<|endoftext|>"
    away = replace(make(f"data.tokenizer={tmp_path / 'tokenizer.json'}", f"data.root={tmp_path}"), manifests={})
    with pytest.raises(DataError, match=r"no manifest that says which token ended.*set data\.end_token, to ! if"):
        release_tokenizer(away)


def test_a_model_that_began_elsewhere_is_known_by_its_files(
    make: Callable[..., Plan], truth: Callable[..., Any], train_path: Callable[..., None], tmp_path: Path
) -> None:
    began = tmp_path / "began"
    build_model(make().config.model, 3).save_pretrained(began)
    plan = make("name=grown", f"model={{checkpoint: {began}}}")
    train_path(plan, plan.graph.by_name["main"])
    exported = export(plan, "main", 8).directory
    there = AutoModelForCausalLM.from_pretrained(exported)
    assert torch.equal(logits(there), logits(truth(plan, "main", 8)))
    assert f"SHA-256 of its config and weights `{weights_digest(began)}`" in (exported / "README.md").read_text()
    config = json.loads((began / "config.json").read_text())
    (began / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    with pytest.raises(LineageError, match="`model.(checkpoint|initial_state)`: the run was begun with weights"):
        export(plan, "main", 28)
    shutil.rmtree(began)
    with pytest.raises(ConfigError, match=r"model.checkpoint: .* is no directory; give the local directory"):
        export(plan, "main", 28)


def test_a_lineage_that_began_with_a_state_from_elsewhere_says_so(
    make: Callable[..., Plan], train_path: Callable[..., None], tmp_path: Path
) -> None:
    donor = find(make().layout.path("main"), 8)
    began = tmp_path / "began" / donor.directory.name
    shutil.copytree(donor.directory, began)
    plan = make("name=grown", f"model.initial_state={began}")
    for name in ("main", "branch-v1"):
        train_path(plan, plan.graph.by_name[name])
    exported = export(plan, "branch-v1").directory
    card, facts = (exported / "README.md").read_text(), json.loads((exported / "lrps.json").read_text())
    assert "| main | a state from elsewhere | 0 to 8 |" in card
    assert f"a checkpoint from elsewhere, digest `{donor.manifest['digest']}`" in card
    assert "step 8 of path `main` of the plan `tiny`" in card
    assert "drawn from the seed" not in card
    assert facts["initial_weights"] == donor.manifest["digest"]
    assert (facts["initial_state"]["step"], facts["initial_state"]["path"]) == (8, "main")
    other = find(make().layout.path("main"), 28)
    shutil.copytree(other.directory, tmp_path / "other" / other.directory.name)
    changed = make("name=grown", f"model.initial_state={tmp_path / 'other' / other.directory.name}")
    with pytest.raises(LineageError, match="`model.(checkpoint|initial_state)`: the run was begun with weights"):
        export(changed, "main", 8)
    with pytest.raises(LineageError, match="`model.initial_state`: the run was begun with"):
        export(make("name=grown"), "main", 8)
    shutil.rmtree(began)
    assert export(plan, "main", 8).made, "what it began with need not be there any more"


def test_the_tokenizer_encodes_as_training_did(plan: Plan) -> None:
    exported = export(plan, "branch-v2")
    ours, identity = load_tokenizer(plan.config.data.tokenizer_path)
    theirs = AutoTokenizer.from_pretrained(exported.directory)
    for text in ("path switch rate", "  Zürich\n\t'tis , 中", ""):
        ids = theirs(text).input_ids
        assert ids == ours.encode(text, add_special_tokens=False).ids
        assert theirs.decode(ids) == ours.decode(ids, skip_special_tokens=False) == text
    assert theirs.eos_token_id == identity.eos
