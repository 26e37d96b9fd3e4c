"""What is submitted, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import LineageError, SchedulerError
from lrps.launch.jobs import plan_jobs
from lrps.launch.process_group import ProcessGroupJob
from lrps.launch.slurm.names import job_comment
from lrps.launch.slurm.record import newest_jobs, submitted_jobs
from lrps.launch.slurm.submit import Submission, jobs_to_wait_for, sbatch_command, submit
from lrps.plan.plan import Plan
from support.private_slurm import PrivateSlurm
from support.run_builder import save

BOTH = ["main", "branch-v1"]


def job(plan: Plan, *names: str) -> ProcessGroupJob:
    first, *_ = plan_jobs(plan, names, Path("c.yaml"), [])
    return replace(first, paths=names)


def test_a_branch_waits_for_the_job_that_makes_its_branch_point(plan: Plan) -> None:
    ids = {"main": "7", "branch-v1": "8"}
    assert jobs_to_wait_for(plan, job(plan, "main"), ids) == ()
    assert jobs_to_wait_for(plan, job(plan, "branch-v2"), ids) == ("7",)
    assert jobs_to_wait_for(plan, job(plan, "branch-v1", "branch-v2"), ids) == ("7",), "once"
    assert jobs_to_wait_for(plan, job(plan, "main", "branch-v1"), {}) == (), "its parent is in the same job"


def test_a_branch_whose_branch_point_is_pinned_waits_for_no_job(plan: Plan) -> None:
    save(plan, "main", plan.graph.by_name["branch-v1"].start, pinned=True)
    save(plan, "main", plan.graph.by_name["branch-v2"].start)
    queue = {"main": "7"}
    assert jobs_to_wait_for(plan, job(plan, "branch-v1"), queue) == (), "main goes on meanwhile"
    assert jobs_to_wait_for(plan, job(plan, "branch-v2"), queue) == ("7",), "not pinned: main may remove it"
    assert jobs_to_wait_for(plan, job(plan, "branch-v2"), {}) == ()


def test_a_branch_point_that_no_job_saves(plan: Plan) -> None:
    with pytest.raises(LineageError, match="branch-v1 forks from main at step .* neither saved nor in the queue"):
        jobs_to_wait_for(plan, job(plan, "branch-v1"), {})


def test_a_child_of_a_failed_job_is_not_left_waiting(plan: Plan) -> None:
    script, command = (
        Path("x.sbatch"),
        ("sbatch", "--parsable", "--comment=" + job_comment(plan.layout.run_dir, ["main"])),
    )
    kill = "--kill-on-invalid-dep=yes"
    assert sbatch_command(plan.layout.run_dir, ["main"], script, ["7", "9"]) == (
        *command,
        "--dependency=afterok:7:9",
        kill,
        "x.sbatch",
    )
    assert sbatch_command(plan.layout.run_dir, ["main"], script, [], ["5"]) == (
        *command,
        "--dependency=afterany:5",
        kill,
        "x.sbatch",
    )
    assert "--dependency=afterok:7,afterany:5:6" in sbatch_command(
        plan.layout.run_dir, ["main"], script, ["7"], ["5", "6"]
    )
    assert sbatch_command(plan.layout.run_dir, ["main"], script, []) == (*command, "x.sbatch")


@pytest.mark.slow
def test_what_is_queued_is_not_submitted_again(plan: Plan, cluster: PrivateSlurm, pretend: Callable[..., Any]) -> None:
    asked: list[Sequence[str]] = []

    def jobs_of(names: Sequence[str]) -> list[ProcessGroupJob]:
        asked.append(names)
        return [pretend(name) for name in names]

    main, branch = submit(plan, BOTH, jobs_of)
    assert (main.after, branch.after, main.state) == ((), (main.job_id,), "submitted")
    cluster.wait_for(main.job_id, "RUNNING")
    again = submit(plan, [*BOTH, "branch-v2"], jobs_of)
    assert asked == [BOTH, ["branch-v2"]]
    assert again[:2] == (
        Submission(main.job_id, ("main",), (), "RUNNING"),
        Submission(branch.job_id, ("branch-v1",), (), "PENDING"),
    )
    assert again[2].after == (main.job_id,)
    (plan.layout.run_dir / "slurm" / "jobs.json").unlink()
    assert [each.state for each in submit(plan, [*BOTH, "branch-v2"], jobs_of)] == ["RUNNING", "PENDING", "PENDING"]
    assert submitted_jobs(plan.layout.run_dir) == (), "the queue is what counts, not the record"


@pytest.mark.slow
def test_what_slurm_refuses_keeps_what_it_took(plan: Plan, cluster: PrivateSlurm, pretend: Callable[..., Any]) -> None:
    huge = replace(pretend("branch-v1"), resources=pretend("main").resources.model_copy(update={"nodes": 99}))
    with pytest.raises(SchedulerError, match="sbatch .* failed: .* run the same lrps command again"):
        submit(plan, BOTH, lambda _: [pretend("main"), huge])
    assert set(newest_jobs(plan.layout.run_dir)) == {"main"}
    done = submit(plan, BOTH, lambda names: [pretend(name) for name in names])
    assert [each.paths for each in done] == [("main",), ("branch-v1",)]
    assert done[1].after == (done[0].job_id,) == (newest_jobs(plan.layout.run_dir)["main"].job_id,)
