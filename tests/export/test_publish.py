"""`lrps publish` against a stand-in for the Hub: a revision a version, tags of branch points, nothing sent twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from lrps.base.errors import ConfigError, TransferError
from lrps.cli import app
from lrps.export.publication import publications
from lrps.plan.plan import Plan
from lrps.store.layout import RELEASE_FACTS
from support.pretend_hub import TOKEN, PretendHub, pretend_hub

REPO = "team/tiny"
Publish = Callable[..., str]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PretendHub]:
    with pretend_hub() as made:
        # As HF_ENDPOINT sets them when the package is imported.
        template = made.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", made.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield made


@pytest.fixture
def publish(plan: Plan, trained_run: Path) -> Publish:
    def call(*words: str) -> str:
        runs = f"runs={plan.config.run_dir.parent}"
        result = CliRunner().invoke(app, ["publish", str(trained_run), *words, "--repo", REPO, "-s", runs])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def outcomes(output: str) -> dict[str, str]:
    """Return revision -> what became of it, from the lines that the verb prints."""
    lines = [line.removeprefix(f"{REPO} ") for line in output.splitlines() if line.startswith(REPO)]
    return {line.partition(":")[0]: line.rpartition(": ")[2] for line in lines}


def test_each_version_is_a_revision_and_the_newest_is_the_default(
    hub: PretendHub, publish: Publish, plan: Plan, truth: Callable[[Plan, str, int], torch.nn.Module], tmp_path: Path
) -> None:
    v1, v2 = (increment.version for increment in plan.increments)
    assert outcomes(publish(v1, v2)) == {v1: "new", v2: "new", "main": "new"}
    repository = hub.repositories[REPO]
    assert repository.files("main") == repository.files(v2) != repository.files(v1)
    for name, content in repository.files(v1).items():
        (tmp_path / name).write_bytes(content)
    loaded, release = AutoModelForCausalLM.from_pretrained(tmp_path), plan.graph.paradigms[0].releases[0]
    trained = truth(plan, release.path, release.step).state_dict()
    assert all(torch.equal(values, loaded.state_dict()[name]) for name, values in trained.items())
    card = repository.files(v1)["README.md"].decode()
    assert f"branch-{v1}" in card
    assert "device-hour" in card


def test_a_second_call_sends_nothing_and_an_older_version_does_not_become_the_default(
    hub: PretendHub, publish: Publish, plan: Plan
) -> None:
    v1, v2 = (increment.version for increment in plan.increments)
    publish(v2)
    before, sent = dict(hub.repositories[REPO].log), len(hub.uploads)
    assert outcomes(publish(v2)) == {v2: "there already", "main": "there already"}
    assert (hub.repositories[REPO].log, len(hub.uploads)) == (before, sent)
    assert outcomes(publish(v1)) == {v1: "new"}
    assert hub.repositories[REPO].files("main") == hub.repositories[REPO].files(v2)


def test_branch_points_are_tags_in_the_order_of_their_steps(hub: PretendHub, publish: Publish, plan: Plan) -> None:
    names = [increment.version for increment in plan.increments]
    found = outcomes(publish(*names, "--branch-points"))
    steps = [plan.graph.by_name[f"branch-{name}"].start for name in names]
    tags = [f"main-step-{step}" for step in steps]
    assert list(found)[: len(tags)] == tags
    repository = hub.repositories[REPO]
    assert list(repository.tags) == tags
    for tag, step in zip(tags, steps, strict=True):
        facts = json.loads(repository.files(tag)[RELEASE_FACTS])
        assert (facts["path"], facts["step"]) == ("main", step)
    assert outcomes(publish(*names, "--branch-points")) == dict.fromkeys([*tags, *names, "main"], "there already")


def test_an_interrupted_upload_continues_with_the_same_command(hub: PretendHub, publish: Publish, plan: Plan) -> None:
    v1, v2 = (increment.version for increment in plan.increments)
    hub.refuses_upload = 1
    with pytest.raises(TransferError, match="run the same command again"):
        publish(v1, v2)
    assert RELEASE_FACTS not in hub.repositories[REPO].files(v2)
    assert outcomes(publish(v1, v2)) == {v1: "there already", v2: "new", "main": "new"}
    assert len(hub.uploads) == len(set(hub.uploads)) == 2


def test_a_dry_run_writes_nothing(hub: PretendHub, publish: Publish, plan: Plan) -> None:
    v1, v2 = (increment.version for increment in plan.increments)
    output = publish(v1, v2, "--dry-run")
    assert outcomes(output) == {v1: "new", v2: "new", "main": "new"}
    assert "not exported yet" in output
    assert hub.repositories == {}
    assert not plan.layout.path(f"branch-{v1}").model.exists()
    publish(v1)
    assert outcomes(publish(v1, v2, "--dry-run")) == {
        v1: "there already",
        v2: "new",
        "main": "compared after its export",
    }
    assert v2 not in hub.repositories[REPO].log


def test_what_somebody_else_put_there_is_replaced_with_force_only(
    hub: PretendHub, publish: Publish, plan: Plan
) -> None:
    v1 = plan.increments[0].version
    repository = hub.create(REPO)
    repository.commit(v1, {"pytorch_model.bin": b"theirs"})
    with pytest.raises(ConfigError, match="did not put there, such as pytorch_model.bin"):
        publish(v1)
    assert repository.files(v1) == {"pytorch_model.bin": b"theirs"}
    assert outcomes(publish(v1, "--force"))[v1] == "replaced"
    assert "pytorch_model.bin" not in repository.files(v1)
    facts = json.loads(repository.files(v1)[RELEASE_FACTS])
    repository.commit(v1, {RELEASE_FACTS: json.dumps({**facts, "dtype": "bf16"}).encode()})
    with pytest.raises(ConfigError, match="another state or form at v1"):
        publish(v1)


def test_refusals_of_the_hub_say_how_to_go_on(
    hub: PretendHub, publish: Publish, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refuses_commit = True
    with pytest.raises(TransferError, match=r"refuses access \(HTTP 403\); run `hf auth login`"):
        publish("v1")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_secret")
    with pytest.raises(TransferError, match=r"refuses access \(HTTP 401\)") as refused:
        publish("v1")
    assert "wrong_secret" not in str(refused.value)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(TransferError, match="cannot be reached"):
        publish("v1")


def test_mistakes_are_found_before_anything_is_written(hub: PretendHub, publish: Publish, plan: Plan) -> None:
    for words, message in (
        (["v9"], "the config has v1, v2"),
        (["v1", "--paradigm", "other"], "the config has"),
        (["v1", "--dtype", "int8"], "fp32 or bf16"),
    ):
        with pytest.raises(ConfigError, match=message):
            publish(*words)
    assert hub.repositories == {}


def test_a_version_that_is_no_name_of_a_branch_is_refused(plan: Plan) -> None:
    for name in ("main", "branch-points", "a..b", ".hidden", "x.lock"):
        renamed = replace(plan, increments=(replace(plan.increments[0], version=name), *plan.increments[1:]))
        with pytest.raises(ConfigError, match="cannot have this name"):
            publications(renamed, [name], "path-switching")
