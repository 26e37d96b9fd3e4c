"""Which jobs are cancelled, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lrps.launch.slurm.cancel import cancel_jobs
from lrps.launch.slurm.names import slurm_directory
from lrps.launch.slurm.submit import submit
from lrps.plan.plan import Plan
from support.private_slurm import PrivateSlurm, wait_until

pytestmark = pytest.mark.slow


def test_running_jobs_save_and_waiting_ones_just_go(
    plan: Plan, cluster: PrivateSlurm, pretend: Callable[..., Any]
) -> None:
    names = ["main", "branch-v1", "branch-v2"]
    main, first, second = submit(plan, names, lambda names: [pretend(name) for name in names])
    folder = plan.layout.path("main").directory
    wait_until(lambda: (folder / "up-0").exists(), "the worker")
    assert [(each.job_id, each.saves_first) for each in cancel_jobs(plan, ["branch-v2"])] == [(second.job_id, False)]
    assert [(each.job_id, each.saves_first) for each in cancel_jobs(plan, ["main"])] == [
        (first.job_id, False),
        (main.job_id, True),
    ], "what waits for it goes, too"
    again = submit(plan, names[:2], lambda names: [pretend(name, "sys.exit(0)") for name in names])
    assert [each.state for each in again] == ["ending", "submitted", "submitted"]
    assert [each.after for each in again] == [(), (main.job_id,), (again[1].job_id,)], "one after the other"
    cluster.wait_for(main.job_id, "CANCELLED")
    for job in again[1:]:
        cluster.wait_for(job.job_id, "COMPLETED")
    assert cluster.state(first.job_id) == cluster.state(second.job_id) == "CANCELLED"
    assert (folder / "checkpoints" / "step-0").exists()
    assert cancel_jobs(plan) == ()


def test_a_run_that_never_was_in_slurm_is_left_alone(plan: Plan, cluster: PrivateSlurm) -> None:
    assert cancel_jobs(plan) == ()
    assert not slurm_directory(plan.layout.run_dir).exists()
