"""Cancels jobs: those that wait at once, those that run after they have saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrps.plan import Plan
from lrps.slurm.command import slurm
from lrps.slurm.queue import QueuedJob, queued_jobs
from lrps.slurm.record import one_submitter

SAVE_AND_END = "USR2"
"""What the batch script takes for `save and do not come back`."""


@dataclass(frozen=True)
class Cancelled:
    """One job that was asked to end."""

    job_id: str
    paths: tuple[str, ...]
    saves_first: bool


def cancel(plan: Plan, names: Sequence[str] = ()) -> tuple[Cancelled, ...]:
    """Cancel the jobs of the named paths, by default of all, and those that wait for one of them.

    Returns before the running ones have ended. Raises SchedulerError if Slurm does not answer.
    """
    with one_submitter(plan):
        jobs = [job for job in queued_jobs(plan) if job.is_active and _concerned(plan, job, names)]
        # Children first: none starts, or is cancelled by Slurm, while its parent goes.
        return tuple(_cancel(job) for job in reversed(jobs))


def _concerned(plan: Plan, job: QueuedJob, names: Sequence[str]) -> bool:
    if not names or set(names) & set(job.paths):
        return True
    known = [plan.graph.by_name[name] for name in job.paths if name in plan.graph.by_name]
    ancestors = {each.name for path in known for each in plan.graph.lineage(path)}
    return job.reason.startswith("Dependency") and bool(ancestors & set(names))


def _cancel(job: QueuedJob) -> Cancelled:
    running = job.state == "RUNNING"
    slurm("scancel", *(("--batch", f"--signal={SAVE_AND_END}") if running else ()), job.job_id)
    return Cancelled(job.job_id, job.paths, saves_first=running)
