"""Cancels jobs: those that wait at once, those that run after they have saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lrps.launch.slurm.command import slurm
from lrps.launch.slurm.queue import QueuedJob, queued_jobs
from lrps.launch.slurm.record import SubmittedJob, one_submitter, record_job, submitted_jobs
from lrps.plan.plan import Plan

SAVE_AND_END = "USR2"
"""What the batch script takes for `save and do not come back`."""


@dataclass(frozen=True)
class Cancelled:
    """One job that was asked to end."""

    job_id: str
    paths: tuple[str, ...]
    saves_first: bool


def cancel_jobs(plan: Plan, names: Sequence[str] = ()) -> tuple[Cancelled, ...]:
    """Cancel the jobs of the named paths, by default of all, and those that wait for one of them.

    Returns before the running ones have ended. Raises SchedulerError if Slurm does not answer.
    """
    if not any(job.is_active for job in queued_jobs(plan)):
        return ()  # So that nothing is written for a run that never was in Slurm.
    with one_submitter(plan):
        jobs = [job for job in queued_jobs(plan) if job.is_active and _concerned(plan, job, names)]
        # Children first: none starts, or is cancelled by Slurm, while its parent goes.
        return tuple(_cancel(plan, job) for job in reversed(jobs))


def _concerned(plan: Plan, job: QueuedJob, names: Sequence[str]) -> bool:
    if not names or set(names) & set(job.paths):
        return True
    known = [plan.graph.by_name[name] for name in job.paths if name in plan.graph.by_name]
    ancestors = {each.name for path in known for each in plan.graph.lineage(path)}
    return job.reason.startswith("Dependency") and bool(ancestors & set(names))


def _cancel(plan: Plan, job: QueuedJob) -> Cancelled:
    running = job.state == "RUNNING"
    if job.state != "PENDING":  # It takes a while: who submits meanwhile must not take it for one that trains on.
        known = next((each for each in submitted_jobs(plan) if each.job_id == job.job_id), None)
        known = known or SubmittedJob(job.job_id, job.paths, (), "")
        record_job(plan, replace(known, cancelled=True))
    slurm("scancel", *(("--batch", f"--signal={SAVE_AND_END}") if running else ()), job.job_id)
    return Cancelled(job.job_id, job.paths, saves_first=running)
