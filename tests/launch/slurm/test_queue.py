"""What squeue and sacct print, read."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from lrps.launch.slurm.names import job_comment
from lrps.launch.slurm.queue import FINAL_STATES, QueuedJob, parse_accounts, parse_queue
from lrps.plan.plan import Plan

STATES = st.sampled_from([*sorted(FINAL_STATES), "PENDING", "RUNNING", "COMPLETING", "REQUEUED"])


def test_other_peoples_jobs_are_not_ours(plan: Plan) -> None:
    lines = [
        "12|PENDING|Dependency|" + job_comment(plan.layout.run_dir, ["branch-v1"]),
        "7|RUNNING|None|" + job_comment(plan.layout.run_dir, ["main"]),
        "8|RUNNING|None|",
        "9|RUNNING|None|a comment|with bars",
        "10|RUNNING|None|lrps:0123456789abcdef:main",
        "4_7|RUNNING|None|" + job_comment(plan.layout.run_dir, ["main"]),
        "no job at all",
    ]
    assert parse_queue("\n".join(lines), plan.layout.run_dir) == (
        QueuedJob("7", ("main",), "RUNNING"),
        QueuedJob("12", ("branch-v1",), "PENDING", "Dependency"),
    )


def test_a_job_of_several_paths(plan: Plan) -> None:
    (job,) = parse_queue(
        "3|COMPLETED|None|" + job_comment(plan.layout.run_dir, ["main", "branch-v1"]), plan.layout.run_dir
    )
    assert (job.paths, job.is_active) == (("main", "branch-v1"), False)


@given(st.lists(st.tuples(st.integers(1, 10**9), STATES), unique_by=lambda pair: pair[0]))
def test_accounts_give_back_every_state(jobs: Sequence[tuple[int, str]]) -> None:
    text = "".join(f"{job}|{state}{' by 1000' if state == 'CANCELLED' else ''}\n" for job, state in jobs)
    assert parse_accounts(text) == {str(job): state for job, state in jobs}
