"""Cancellation of jobs: pending ones at once, running ones after they have saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lrps.launch.slurm.command import slurm
from lrps.launch.slurm.queue import QueuedJob, queued_jobs
from lrps.launch.slurm.record import SubmittedJob, one_submitter, record_job, submitted_jobs
from lrps.plan.plan import Plan

SAVE_AND_EXIT = "USR2"
"""Signal at which the batch script lets its processes save and is not queued again."""


@dataclass(frozen=True)
class CancelledJob:
    """A job that was cancelled."""

    job_id: str
    paths: tuple[str, ...]
    saves_first: bool
    """Whether the job was running, and ends once it has saved."""


def cancel_jobs(plan: Plan, names: Sequence[str] = ()) -> tuple[CancelledJob, ...]:
    """Cancel the jobs of the named paths (of all paths by default), and the jobs that wait for one of them.

    Returns before the running ones have ended. Raises SchedulerError if Slurm does not answer.
    """
    run_dir = plan.layout.run_dir
    if not any(job.is_active for job in queued_jobs(run_dir)):
        return ()  # A run that was never submitted gets no directory for Slurm.
    with one_submitter(run_dir):
        jobs = [job for job in queued_jobs(run_dir) if job.is_active and _is_concerned(plan, job, names)]
        # Children first, so that none starts, or is cancelled by Slurm, when its parent ends.
        return tuple(_cancel(run_dir, job) for job in reversed(jobs))


def _is_concerned(plan: Plan, job: QueuedJob, names: Sequence[str]) -> bool:
    if not names or set(names) & set(job.paths):
        return True
    known = [plan.graph.by_name[name] for name in job.paths if name in plan.graph.by_name]
    ancestors = {each.name for path in known for each in plan.graph.lineage(path)}
    return job.reason.startswith("Dependency") and bool(ancestors & set(names))


def _cancel(run_dir: Path, job: QueuedJob) -> CancelledJob:
    running = job.state == "RUNNING"
    if job.state != "PENDING":  # It ends later: a submission in between must not mistake it for a job that trains.
        known = next((each for each in submitted_jobs(run_dir) if each.job_id == job.job_id), None)
        known = known or SubmittedJob(job.job_id, job.paths, (), "")
        record_job(run_dir, replace(known, cancelled=True))
    slurm("scancel", *(("--batch", f"--signal={SAVE_AND_EXIT}") if running else ()), job.job_id)
    return CancelledJob(job.job_id, job.paths, saves_first=running)
