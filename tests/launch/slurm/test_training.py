"""Training in a real Slurm, started and followed by the command line as users do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import write_text

from lrps.config.loader import load_config
from lrps.data.build.build import build_data
from lrps.ledger.reader import evaluations, read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import path_status
from support.private_slurm import PrivateSlurm, can_account, wait_until
from support.values import tiny_values

pytestmark = pytest.mark.slow

Lrps = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """main of 400 steps, branches of 100; long enough to be interrupted."""
    root = tmp_path_factory.mktemp("training")
    for k in (1, 2):
        write_text(root / f"v{k}.jsonl", seed=k)
    values = tiny_values(
        root,
        versions=2,
        paradigms={"path-switching": {"alpha": 0.4}},
        batch={"sequences": 2},
        checkpoint={"every_steps": 100, "keep_last": 2},
        launch={"slurm": {"setup": "export OMP_NUM_THREADS=1"}},
    )
    for version in values["data"]["versions"]:
        version["tokens"] = 250 * 2 * 16
    file = root / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    build_data(load_config(file))
    return file


@pytest.fixture
def run(config: Path, tmp_path: Path) -> tuple[Path, Plan]:
    """A config of the same data with a run directory of its own."""
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "runs": str(tmp_path)}))
    return file, make_plan(load_config(file))


@pytest.fixture
def lrps(cluster: PrivateSlurm) -> Lrps:
    def call(verb: str, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lrps.cli", verb, *map(str, words)]
        environment = {**cluster.environment, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


def jobs(plan: Plan) -> list[tuple[str, str]]:
    """(path, id) of every job that was submitted."""
    record = json.loads((plan.layout.run_dir / "slurm" / "jobs.json").read_text())
    return [(job["paths"][0], job["job_id"]) for job in record["jobs"]]


def in_slurm(lrps: Lrps, file: Path) -> dict[str, Any]:
    """path -> what `lrps status` tells of it."""
    return {path["name"]: path for path in json.loads(lrps("status", file, "--json").stdout)["paths"]}


def results(plan: Plan) -> dict[str, Any]:
    """Losses of every step, and the bytes of the final state, of every path."""
    found: dict[str, Any] = {}
    for path in plan.graph.paths:
        layout = plan.layout.path(path.name)
        lines = [line for line in map(json.loads, layout.metrics.read_text().splitlines()) if "loss" in line]
        found[path.name, "loss"] = {line["step"]: (line["loss"], line["lr"], line["grad_norm"]) for line in lines}
        final = layout.branch_points / f"step-{path.stop:08d}"
        files = json.loads((final / "manifest.json").read_text())["files"]
        found[path.name, "state"] = files
        # By step and set: an attempt that repeats steps of the main path evaluates them again.
        evaluated = evaluations(read_ledger(layout.ledger)).items()
        found[path.name, "evaluation"] = {key: evaluation.loss for key, evaluation in evaluated}
    return found


def wait_for_step(plan: Plan, path: str, step: int) -> None:
    metrics = plan.layout.path(path).metrics

    def there() -> bool:
        return metrics.exists() and any(json.loads(line)["step"] >= step for line in metrics.read_text().splitlines())

    wait_until(there, f"step {step} of {path}")


def test_a_graph_as_jobs_is_the_local_run_bit_for_bit_also_after_a_requeue(
    run: tuple[Path, Plan],
    config: Path,
    lrps: Lrps,
    cluster: PrivateSlurm,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    file, plan = run
    local = tmp_path / "local.yaml"
    local.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "runs": str(tmp_path / "local")}))
    words = (sys.executable, "-m", "lrps.cli", "train", str(local), "main", "branch-v1", "branch-v2")
    local_run = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    request.addfinalizer(local_run.kill)
    lrps("run", file, "--launcher", "slurm")
    (_, main), (_, first), (_, second) = submitted = jobs(plan)
    assert [name for name, _ in submitted] == ["main", "branch-v1", "branch-v2"]
    wait_for_step(plan, "main", 20)
    cluster.command("scancel", "--batch", "--signal=USR1", main)
    again = lrps("run", file, "--launcher", "slurm").stdout
    assert again.count("PENDING") >= 2, "main is running, completing or pending"
    assert jobs(plan) == submitted, "nothing was submitted again"
    status = in_slurm(lrps, file)
    assert (status["branch-v1"]["slurm"]["job_id"], status["branch-v1"]["slurm"]["reason"]) == (first, "Dependency")

    for job in (main, first, second):
        cluster.wait_for(job, "COMPLETED")
    wait_until(lambda: local_run.poll() is not None, "the local run")
    assert local_run.returncode == 0
    assert results(plan) == results(make_plan(load_config(local)))
    assert {path["state"] for path in in_slurm(lrps, file).values()} == {"complete"}
    assert "everything is trained" in lrps("run", file, "--launcher", "slurm").stdout
    assert jobs(plan) == submitted

    starts = [r for r in read_ledger(plan.layout.path("main").ledger) if r.kind == "start"]
    assert [record.facts["slurm"] for record in starts] == [
        {"job_id": main, "restarts": 0},
        {"job_id": main, "restarts": 1},
    ]
    assert [record.facts["origin"] for record in starts] == ["start", "resume"]
    for name, job in submitted:
        check_accounts(plan, cluster, name, job)


def check_accounts(plan: Plan, cluster: PrivateSlurm, path: str, job: str, attempts: int | None = None) -> None:
    """The ledger books what Slurm allocated, from the first line of every attempt's script to its last record.

    Slurm also counts the time before that line and the time that processes take to end, which nobody can book and
    which depends on how busy the machine is. attempts: how many of the path's are this job's, if not all.
    """
    if not can_account():
        return
    output = cluster.command("sacct", "-X", "-D", "-n", "-P", "-j", job, "-o", "Start,ElapsedRaw,AllocTRES")
    ledger = sorted(plan.layout.path(path).ledger.glob("*.jsonl"))[:attempts]
    for line, file in zip(sorted(output.splitlines()), ledger, strict=True):
        start, elapsed, tres = line.split("|")
        first, *_, last = [json.loads(record) for record in file.read_text().splitlines()]
        gpus = int(tres.split("gres/gpu=")[1].split(",")[0])
        begun, trained, ended = (
            datetime.fromisoformat(time).timestamp() for time in (start, first["time"], last["time"])
        )
        booked = last["counters"]["allocated_seconds"]
        print(f"{path}: sacct {int(elapsed) * gpus} GPU-seconds, ledger {booked:.1f} in {ended - begun:.1f} s")
        assert first["facts"]["processes"] == gpus
        assert (ended - trained) * gpus < booked < (ended - begun + 1) * gpus, "Slurm's times are whole"
        assert booked < (int(elapsed) + 1) * gpus


@pytest.mark.long
def test_cancelled_it_saves_and_what_fails_then_says_why(
    run: tuple[Path, Plan], config: Path, lrps: Lrps, cluster: PrivateSlurm, tmp_path: Path
) -> None:
    """Two processes a job. A damaged shard makes the second job of the main path fail, and its branches with it."""
    file, plan = run
    values = yaml.safe_load(file.read_text())
    shards = tmp_path / "shards"
    shutil.copytree(config.parent / "shards", shards)
    values["data"]["root"] = str(shards)
    values["launch"]["processes"] = 2
    file.write_text(yaml.safe_dump(values))
    lrps("run", file, "--launcher", "slurm")
    (_, cancelled), (_, branch), _ = jobs(plan)
    wait_for_step(plan, "main", 20)
    output = lrps("cancel", file, "main").stdout
    assert f"main: job {cancelled} saves and exits" in output
    assert f"branch-v1: job {branch} cancelled" in output
    (shard,) = shards.glob("v1/v1-train-*.tar")
    shard.write_bytes(shard.read_bytes()[:1000])
    # At once: it is still saving, so what is submitted waits until it has ended.
    lrps("run", file, "--launcher", "slurm")
    (_, main), (_, first), (_, second) = jobs(plan)[3:]
    cluster.wait_for(cancelled, "CANCELLED")
    check_accounts(plan, cluster, "main", cancelled, attempts=1)
    cluster.wait_for(main, "FAILED")
    for job in (first, second):
        cluster.wait_for(job, "CANCELLED")
    saved = path_status(plan, plan.graph.by_name["main"])
    assert 20 <= saved.step < 400
    output = " ".join(lrps("status", file).stdout.split())  # as one line
    assert f"warning: main: job {main} FAILED: lrps: " in output
    assert f"main-{main}.out" in output
    assert f"warning: branch-v1: job {first} CANCELLED: it waited for main, whose job {main} is FAILED" in output
    again = lrps("run", file, "--launcher", "slurm").stdout
    assert f"before: main: job {main} FAILED: lrps: " in again
    assert again.count("submitted") == 3
    assert lrps("cancel", file).stdout.count("job") == 3
    assert "the plan has no path mian" in lrps("cancel", file, "mian", code=2).stderr
