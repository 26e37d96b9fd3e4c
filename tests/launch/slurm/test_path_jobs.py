"""What is known of the newest job of every path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrps.launch.slurm import path_jobs as module
from lrps.launch.slurm.names import output_file
from lrps.launch.slurm.path_jobs import PathJob, PathJobReader, path_jobs
from lrps.launch.slurm.queue import QueuedJob
from lrps.launch.slurm.record import SubmittedJob, jobs_file, one_submitter, record_job
from lrps.launch.slurm.submit import submit
from lrps.plan.plan import Plan
from support.private_slurm import PrivateSlurm, can_account, wait_until


def record(plan: Plan, job_id: str, *paths: str, after: tuple[str, ...] = ()) -> None:
    with one_submitter(plan.layout.run_dir):
        record_job(plan.layout.run_dir, SubmittedJob(job_id, paths, after, "2026-01-01T00:00:00+00:00"))


def test_a_run_that_was_never_submitted_runs_no_command(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "queued_jobs", lambda _: pytest.fail("it asked Slurm"))
    assert path_jobs(plan.layout.run_dir) == {}


def test_without_slurm_the_ids_are_known(plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    record(plan, "7", "main")
    record(plan, "8", "branch-v1", after=("7",))
    record(plan, "9", "main")
    assert path_jobs(plan.layout.run_dir) == {"main": PathJob("9", None), "branch-v1": PathJob("8", None)}
    jobs_file(plan.layout.run_dir).write_text("damaged")
    assert path_jobs(plan.layout.run_dir) == {}


@pytest.mark.parametrize("kept", [None, "damaged"])
def test_a_lost_record_costs_nothing_while_the_queue_knows(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, kept: str | None
) -> None:
    record(plan, "7", "main")
    jobs_file(plan.layout.run_dir).unlink() if kept is None else jobs_file(plan.layout.run_dir).write_text(kept)
    monkeypatch.setattr(module, "queued_jobs", lambda _: (QueuedJob("7", ("main",), "RUNNING"),))
    assert path_jobs(plan.layout.run_dir) == {"main": PathJob("7", "RUNNING")}
    jobs_file(plan.layout.run_dir).unlink(missing_ok=True)
    record(plan, "9", "main")
    monkeypatch.setattr(module, "accounted_states", lambda _: {})
    assert path_jobs(plan.layout.run_dir) == {"main": PathJob("9", None)}, "the newest one counts"


def test_slurm_is_not_queried_at_every_read(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(({"main": PathJob("7", "PENDING")}, {"main": PathJob("7", "RUNNING")}))
    monkeypatch.setattr(module, "path_jobs", lambda _: next(answers))
    reader = PathJobReader(plan.layout.run_dir, every_seconds=3600)
    assert [reader.read()["main"].state for _ in range(3)] == ["PENDING"] * 3
    reader = PathJobReader(plan.layout.run_dir, every_seconds=0)
    assert reader.read()["main"].state == "RUNNING"


@pytest.mark.slow
def test_a_failed_job_says_why_and_so_do_those_that_waited_for_it(
    plan: Plan, cluster: PrivateSlurm, pretend: Callable[..., Any], tmp_path: Path
) -> None:
    submitted = tmp_path / "submitted"
    fails = (
        f"while not os.path.exists({str(submitted)!r}): time.sleep(0.05)\n"
        "print('lrps: the shard v1/train-00000.tar is damaged', flush=True); sys.exit(2)"
    )
    main, branch = submit(plan, ["main", "branch-v1"], lambda _: [pretend("main", fails), pretend("branch-v1")])
    submitted.touch()
    cluster.wait_for(main.job_id, "FAILED")
    cluster.wait_for(branch.job_id, "CANCELLED")
    jobs = path_jobs(plan.layout.run_dir)
    output = output_file(plan.layout.run_dir, "main", main.job_id)
    assert jobs["main"].trouble == (
        f"job {main.job_id} FAILED: lrps: the shard v1/train-00000.tar is damaged; see {output}"
    )
    assert jobs["branch-v1"].trouble == (
        f"job {branch.job_id} CANCELLED: it waited for main, whose job {main.job_id} is FAILED"
    )


@pytest.mark.slow
def test_what_squeue_has_forgotten_sacct_knows(
    plan: Plan, cluster: PrivateSlurm, pretend: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_account():
        pytest.skip("no slurmdbd or no MariaDB here (Debian: slurmdbd and mariadb-server)")
    (main,) = submit(plan, ["main"], lambda _: [pretend("main", "sys.exit(0)")])
    cluster.wait_for(main.job_id, "COMPLETED")
    monkeypatch.setattr(module, "queued_jobs", lambda _: ())
    wait_until(lambda: path_jobs(plan.layout.run_dir)["main"].state == "COMPLETED", "the job in the accounts")
    assert path_jobs(plan.layout.run_dir) == {"main": PathJob(main.job_id, "COMPLETED")}
    record(plan, "999999", "branch-v1")
    assert path_jobs(plan.layout.run_dir)["branch-v1"] == PathJob("999999", None)
