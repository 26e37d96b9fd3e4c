"""Lineage as artifacts, linked by the real client against a stand-in for the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from track.wandb_server import Run, WandbServer

from lrps.base.errors import TrackerError
from lrps.config.loader import load_config
from lrps.plan.plan import Plan, make_plan
from lrps.store.checkpoints import Checkpoint, begin, fsync_and_hash, pin, publish
from lrps.track.wandb.link import kept_checkpoints, link_run

pytestmark = pytest.mark.slow


@pytest.fixture
def plan(tiny_config: Path, tmp_path: Path) -> Plan:
    """A main path and two branches."""
    values = {**yaml.safe_load(tiny_config.read_text()), "runs": str(tmp_path / "runs")}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**values, "paradigms": {"path-switching": {"alpha": 0.6}}}))
    return make_plan(load_config(file))


def saved(plan: Plan, name: str, step: int) -> Checkpoint:
    """A pinned checkpoint of a path, with a file of its own."""
    layout = plan.layout.path(name)
    temporary = begin(layout.checkpoints, step)
    (temporary / "weights").write_text(f"{name} at {step}")
    files = {"weights": fsync_and_hash(temporary / "weights")}
    return pin(publish(temporary, step, files, {"path": name}), layout.branch_points)


def run_of(name: str) -> str:
    return f"tiny-{name}-5eed0002"


def everything(plan: Plan, server: WandbServer) -> dict[tuple[str, int], Checkpoint]:
    """All runs are synced, all branch points and ends are saved."""
    plan.layout.run_dir.mkdir(parents=True)
    plan.layout.run_json.write_text('{"mark": "5eed0001"}')
    names = {path.name: {*plan.graph.branch_points(path.name), path.stop} for path in plan.graph.paths}
    for name in names:
        plan.layout.path(name).directory.mkdir(parents=True)
        plan.layout.path(name).path_json.write_text('{"mark": "5eed0002"}')
    server.runs.update({run_of(name): Run("lrps", run_of(name), exit_code=0) for name in names})
    return {(name, step): saved(plan, name, step) for name, steps in names.items() for step in sorted(steps)}


def by_state(server: WandbServer) -> dict[tuple[str, int], dict[str, Any]]:
    facts = {key: json.loads(artifact["metadata"]) for key, artifact in server.artifacts.items()}
    return {(facts[key]["path"], facts[key]["step"]): server.artifacts[key] for key in facts}


def edges(server: WandbServer) -> dict[str, tuple[list[str], list[str]]]:
    return {name: (sorted(run.logged), sorted(run.used)) for name, run in server.runs.items()}


def test_each_branch_uses_the_state_that_it_forked_from(server: WandbServer, plan: Plan) -> None:
    checkpoints, said = everything(plan, server), []
    link_run(plan, None, None, said.append)
    artifacts = by_state(server)
    assert artifacts.keys() == checkpoints.keys() == {("main", 8), ("main", 28), ("branch-v1", 20), ("branch-v2", 40)}
    ids = {state: artifact["id"] for state, artifact in artifacts.items()}
    linked = edges(server)
    assert linked[run_of("main")] == (sorted([ids["main", 8], ids["main", 28]]), [])
    assert linked[run_of("branch-v1")] == ([ids["branch-v1", 20]], [ids["main", 8]])
    assert linked[run_of("branch-v2")] == ([ids["branch-v2", 40]], [ids["main", 28]])
    assert said[1] == "branch-v1: linked step 20; forks from main at step 8"
    assert (server.runs["tiny-link-5eed0001"].exit_code, server.runs["tiny-link-5eed0001"].values["jobType"]) == (
        0,
        "link",
    )
    assert server.runs[run_of("main")].values == {}, "the runs of the paths stay as they are"


def test_an_artifact_refers_to_the_checkpoint_and_says_its_hash(server: WandbServer, plan: Plan) -> None:
    checkpoint = everything(plan, server)["main", 28]
    link_run(plan, None, None, print)
    artifact = by_state(server)["main", 28]
    assert (artifact["collection"], artifact["type"], artifact["state"]) == (
        *("tiny-main-5eed0002", "checkpoint", "COMMITTED"),
    )
    assert "step-00000028" in artifact["aliases"]
    told = json.loads(artifact["metadata"])
    assert told == {
        "path": "main",
        "step": 28,
        "tokens": 28 * 64,
        "sha256": checkpoint.manifest["digest"],
        "bytes": len("main at 28"),
    }
    contents = artifact["manifest"]["contents"]
    uri = checkpoint.directory.as_uri()
    assert {name: entry["ref"] for name, entry in contents.items()} == {
        name: f"{uri}/{name}" for name in ("weights", "manifest.json")
    }


def test_linking_again_changes_nothing_and_adds_what_is_new(server: WandbServer, plan: Plan) -> None:
    everything(plan, server)
    branch = server.runs.pop(run_of("branch-v2"))
    said: list[str] = []
    link_run(plan, None, None, said.append)
    assert "branch-v2: team/lrps has no run tiny-branch-v2-5eed0002; `wandb sync` it first" in said
    first, known = edges(server), set(server.artifacts)
    link_run(plan, None, None, print)
    assert (edges(server), set(server.artifacts)) == (first, known)
    server.runs[run_of("branch-v2")] = branch
    link_run(plan, None, None, print)
    assert len(server.artifacts) == len(known) + 1
    ids = {state: artifact["id"] for state, artifact in by_state(server).items()}
    assert edges(server)[run_of("branch-v2")] == ([ids["branch-v2", 40]], [ids["main", 28]])


def test_a_run_begun_without_marks_is_found_by_its_names(server: WandbServer, plan: Plan) -> None:
    checkpoint = saved(plan, "main", 8)
    plan.layout.path("main").path_json.write_text("{}")
    server.runs["tiny-main"] = Run("lrps", "tiny-main", exit_code=0)
    said: list[str] = []
    link_run(plan, None, None, said.append)
    assert said == ["branch-v1: is not trained yet", "branch-v2: is not trained yet", "main: linked step 8"]
    assert by_state(server)["main", 8]["collection"] == "tiny-main"
    assert edges(server)["tiny-main"] == ([by_state(server)["main", checkpoint.step]["id"]], [])


def test_what_is_not_trained_is_not_linked(plan: Plan) -> None:
    saved(plan, "main", 8)
    assert [checkpoint.step for checkpoint in kept_checkpoints(plan, plan.graph.by_name["main"])] == [8]
    assert list(kept_checkpoints(plan, plan.graph.by_name["branch-v1"])) == []


def test_a_server_that_is_not_there_is_told(wandb_here: pytest.MonkeyPatch, plan: Plan) -> None:
    wandb_here.delenv("WANDB_API_KEY")
    wandb_here.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(TrackerError, match="`wandb login`"):
        link_run(plan, None, None, print)
