"""The jobs that were submitted for a run, in <run>/slurm/jobs.json: ids outlive what Slurm remembers."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lrps.base.errors import SchedulerError
from lrps.base.files import atomic_write_json
from lrps.launch.slurm.names import slurm_directory
from lrps.plan.plan import Plan


@dataclass(frozen=True)
class SubmittedJob:
    """One submission."""

    job_id: str
    paths: tuple[str, ...]
    after: tuple[str, ...]
    """Ids of the jobs that had to succeed first."""
    submitted: str
    """ISO time."""
    cancelled: bool = False
    """Whether it was asked to save and end, which takes a while."""


def jobs_file(plan: Plan) -> Path:
    return slurm_directory(plan) / "jobs.json"


def submitted_jobs(plan: Plan) -> tuple[SubmittedJob, ...]:
    """Every job ever submitted for the run, oldest first. Raises SchedulerError for a record that cannot be read."""
    file = jobs_file(plan)
    try:
        jobs = json.loads(file.read_text(encoding="utf-8"))["jobs"]
        return tuple(
            SubmittedJob(**{**job, "paths": tuple(job["paths"]), "after": tuple(job["after"])}) for job in jobs
        )
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SchedulerError(
            f"{file}: cannot be read ({error}); delete it: jobs in the queue are known by their comment"
        ) from None


def newest_jobs(plan: Plan) -> dict[str, SubmittedJob]:
    """path -> its last submission."""
    return {name: job for job in submitted_jobs(plan) for name in job.paths}


def record_job(plan: Plan, job: SubmittedJob) -> None:
    """Add a job, or put it in the place of the one with its id; the file is the old one or the new one."""
    jobs = {each.job_id: each for each in submitted_jobs(plan)} | {job.job_id: job}
    atomic_write_json(jobs_file(plan), {"format": "lrps-slurm-jobs/1", "jobs": [asdict(job) for job in jobs.values()]})


@contextmanager
def one_submitter(plan: Plan) -> Iterator[None]:
    """Wait until nobody else submits jobs of this run, and hold the others off."""
    directory = slurm_directory(plan)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = open(directory / "lock", "a", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise SchedulerError(
            f"{directory}: cannot be written ({error.strerror}); whoever submits or cancels must own the run directory"
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
