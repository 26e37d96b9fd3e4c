"""Real runs of wandb: offline ones read back with wandb's own inspector, online ones from a stand-in for the server."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from track.wandb_files import console, history, run_files, summary, sync
from track.wandb_server import Run, WandbServer

from lrps.config.tracking import WandbConfig
from lrps.ledger.metrics import Metrics
from lrps.track.tracker import TrackedPath
from lrps.track.trackers import Spent, Trackers
from lrps.track.wandb.run import WandbRun

POINT = Metrics(step=10, tokens=160, loss=2.5, lr=1e-3, grad_norm=0.5, tokens_per_second=9.0)
FIRST, SECOND = range(41, 49), range(46, 53)
"""Steps of an attempt that dies at 48, and of the next one, which goes on from a checkpoint at 45."""


def attempt(path: TrackedPath, mode: str, steps: Iterable[int], exit_code: int = 0, **settings: object) -> list[str]:
    """One attempt at a path; returns what was said."""
    said: list[str] = []
    run = WandbRun(WandbConfig.model_validate({"mode": mode, **settings}), path, said.append)
    trackers = Trackers([run], said.append)
    trackers.start(min(steps) - 1)
    for step in steps:
        trackers.log(replace(POINT, step=step, tokens=16 * step), Spent(0.5, 3))
    trackers.log_evaluation(max(steps), 16 * max(steps), {"v1": {"loss": 2.25, "bits_per_byte": 3.25}})
    trackers.finish(exit_code, "5ea1")
    return said


def steps_of(rows: list[dict[str, object]]) -> list[object]:
    return [row["step"] for row in rows if "train/loss" in row]


@pytest.mark.slow
def test_an_offline_run_holds_everything(wandb_here: pytest.MonkeyPatch, tracked: TrackedPath) -> None:
    assert attempt(tracked, "offline", FIRST, exit_code=1, tags=("a", "b")) == []
    (file,) = run_files(tracked.directory)
    assert file.name == "run-demo-branch-v2-5eed0002.wandb"
    rows = history(file)
    assert steps_of(rows) == list(FIRST)
    assert {key: value for key, value in rows[0].items() if not key.startswith("_")} == {
        "step": 41,
        "tokens": 656,
        "train/loss": 2.5,
        "train/lr": 1e-3,
        "train/grad_norm": 0.5,
        "train/tokens_per_second": 9.0,
        "cost/device_hours": 0.5,
        "cost/flops": 3,
    }
    assert rows[-1].items() >= {"step": 48, "tokens": 768, "heldout/v1/loss": 2.25}.items()
    told = summary(file)
    assert told["config"] == tracked.config, "the lineage among it"
    assert (told["exit_code"], told["name"], sorted(told["tags"])) == (
        1,
        "branch-v2",
        ["a", "b", "path-switching", "v2"],
    )
    assert told["summary"]["heldout/v1/bits_per_byte"] == 3.25
    assert told["summary"]["ledger_sha256"] == "5ea1"


@pytest.mark.slow
def test_a_new_path_of_the_same_name_is_another_run(server: WandbServer, tracked: TrackedPath) -> None:
    attempt(tracked, "online", FIRST)
    attempt(replace(tracked, group="demo-5eed0003", mark="5eed0004"), "online", SECOND)
    old, new = (server.runs[f"demo-branch-v2-{mark}"] for mark in ("5eed0002", "5eed0004"))
    assert (steps_of(old.history), steps_of(new.history)) == (list(FIRST), list(SECOND))
    assert (old.values["groupName"], new.values["groupName"]) == ("demo-5eed0001", "demo-5eed0003")


@pytest.mark.slow
def test_a_path_begun_without_a_mark_keeps_its_id(wandb_here: pytest.MonkeyPatch, tracked: TrackedPath) -> None:
    attempt(replace(tracked, group="demo", mark=None), "offline", FIRST)
    (file,) = run_files(tracked.directory)
    assert file.name == "run-demo-branch-v2.wandb"


@pytest.mark.slow
def test_what_is_printed_meanwhile_is_the_console_log(wandb_here: pytest.MonkeyPatch, tracked: TrackedPath) -> None:
    wandb_here.setenv("STORE_SECRET_KEY", "canary-5ea1-key")
    wandb_here.setenv("STORE_PASSWORD", "short")
    run = WandbRun(WandbConfig(), tracked, print)
    print("before it starts")
    run.start(40)
    print("branch-v2: step 48/60")
    print("opened with canary-5ea1-key, short")
    print("a warning", file=sys.stderr)
    run.finish(0, "5ea1")
    print("after it has ended")
    (file,) = run_files(tracked.directory)
    assert console(file) == ["branch-v2: step 48/60", "opened with ..., short", "a warning"]
    files = [each for each in tracked.directory.rglob("*") if each.is_file()]
    assert not [each for each in files if b"canary-5ea1" in each.read_bytes()]
    wandb_here.setenv("WANDB_CONSOLE", "off")
    time.sleep(1)  # wandb names the folder of an attempt by the second.
    attempt(tracked, "offline", SECOND)
    assert console(run_files(tracked.directory)[-1]) == []


@pytest.mark.slow
def test_a_resumed_path_loses_no_step_when_it_is_synced(server: WandbServer, tracked: TrackedPath) -> None:
    attempt(tracked, "offline", FIRST, exit_code=1)
    attempt(tracked, "offline", SECOND)
    files = run_files(tracked.directory)
    assert [steps_of(history(file)) for file in files] == [list(FIRST), list(SECOND)]
    sync(files)
    check_resumed(server.runs["demo-branch-v2-5eed0002"], tracked)


@pytest.mark.slow
def test_a_resumed_path_loses_no_step_online(server: WandbServer, tracked: TrackedPath) -> None:
    assert attempt(tracked, "online", FIRST, exit_code=1) == []
    run = server.runs["demo-branch-v2-5eed0002"]
    assert (steps_of(run.history), run.exit_code) == (list(FIRST), 1)
    assert attempt(tracked, "online", SECOND) == []
    check_resumed(run, tracked)


def check_resumed(run: Run, tracked: TrackedPath) -> None:
    """Repeated steps are there twice: none of them, and none after them, is dropped for going backwards."""
    assert steps_of(run.history) == [*FIRST, *SECOND]
    assert [row["_step"] for row in run.history] == list(range(len(FIRST) + len(SECOND) + 2))
    assert all(row["tokens"] == 16 * row["step"] for row in run.history)
    assert run.config == tracked.config
    assert (run.project, run.values["groupName"], run.values["jobType"]) == ("lrps", "demo-5eed0001", "branch")
    assert (run.exit_code, run.summary["step"]) == (0, 52)


@pytest.mark.slow
def test_a_server_that_cannot_be_reached_makes_the_run_an_offline_one(
    wandb_here: pytest.MonkeyPatch, tracked: TrackedPath
) -> None:
    wandb_here.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    wandb_here.setenv("WANDB_INIT_TIMEOUT", "1")
    (told,) = attempt(tracked, "online", FIRST)
    assert "branch-v2 is tracked offline, send it later with `wandb sync " in told
    (file,) = run_files(tracked.directory)
    assert steps_of(history(file)) == list(FIRST)


@pytest.mark.slow
def test_a_server_that_goes_away_does_not_stop_the_run(wandb_here: pytest.MonkeyPatch, tracked: TrackedPath) -> None:
    wandb_here.setenv("WANDB_FINISH_TIMEOUT", "1")
    said: list[str] = []
    with WandbServer() as first:
        wandb_here.setenv("WANDB_BASE_URL", first.url)
        trackers = Trackers([WandbRun(WandbConfig(mode="online"), tracked, said.append)], said.append)
        trackers.start(40)
        for step in FIRST:
            trackers.log(replace(POINT, step=step), Spent())
            if step == 43:
                first.close()
        trackers.finish(0, "5ea1")  # It does not wait for the server, which never comes back.
    run = first.runs["demo-branch-v2-5eed0002"]
    assert (said, run.exit_code) == ([], None)
    (file,) = run_files(tracked.directory, "run")
    assert steps_of(history(file)) == list(FIRST), "all of it is on disk"
    with WandbServer() as second:
        wandb_here.setenv("WANDB_BASE_URL", second.url)
        sync([file], "--include-online")
        assert steps_of(second.runs["demo-branch-v2-5eed0002"].history) == list(FIRST)


@pytest.mark.slow
def test_wandb_that_dies_is_told_once(wandb_here: pytest.MonkeyPatch, tracked: TrackedPath) -> None:
    import psutil

    said: list[str] = []
    trackers = Trackers([WandbRun(WandbConfig(), tracked, said.append)], said.append)
    trackers.start(40)
    trackers.log(POINT, Spent())
    for child in psutil.Process().children(recursive=True):
        if "wandb-core" in child.name():
            child.kill()
            child.wait()
    while not said:
        time.sleep(0.1)
        trackers.log(POINT, Spent())
    trackers.log(POINT, Spent())
    trackers.finish(0, "5ea1")
    assert len(said) == 1
    assert said[0].startswith("wandb: ")
    assert said[0].endswith("training continues without it, metrics.jsonl has everything")
    time.sleep(1)  # wandb names the folder of an attempt by the second.
    assert attempt(tracked, "offline", SECOND) == [], "the next path starts wandb anew"
    assert steps_of(history(run_files(tracked.directory)[-1])) == list(SECOND)


@pytest.mark.slow
def test_every_variable_goes_before_the_config(
    wandb_here: pytest.MonkeyPatch, tracked: TrackedPath, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    given = {"PROJECT": "p", "ENTITY": "e", "RUN_GROUP": "g", "JOB_TYPE": "j", "NAME": "n", "TAGS": "x,y"}
    for name, value in {**given, "RUN_ID": "i", "MODE": "offline", "DIR": str(elsewhere), "NOTES": "o"}.items():
        wandb_here.setenv(f"WANDB_{name}", value)
    run = WandbRun(WandbConfig(mode="online", project="mine", entity="me", tags=("z",)), tracked, print)
    run.start(0)
    found = run._run
    run.finish(0, "5ea1")
    assert (found.project, found.entity, found.group, found.job_type, found.tags) == ("p", "e", "g", "j", ("x", "y"))
    assert (found.name, found.id, found.notes) == ("n-branch-v2", "i-branch-v2-5eed0002", "o"), "a plan is many runs"
    assert len(run_files(elsewhere)) == 1


def test_a_disabled_wandb_writes_nothing(wandb_here: pytest.MonkeyPatch, tracked: TrackedPath) -> None:
    wandb_here.setenv("WANDB_MODE", "disabled")
    assert attempt(tracked, "online", FIRST) == []
    assert list(tracked.directory.rglob("*.wandb")) == []
