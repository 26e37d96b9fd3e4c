"""The record of the jobs submitted for a run, <run>/slurm/jobs.json, which remains when Slurm has forgotten them."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lrps.base.errors import SchedulerError
from lrps.base.files import atomic_write_json
from lrps.base.foreign_json import read_json
from lrps.launch.slurm.names import slurm_directory


@dataclass(frozen=True)
class SubmittedJob:
    """A job as it was submitted."""

    job_id: str
    paths: tuple[str, ...]
    after: tuple[str, ...]
    """Ids of the jobs that had to succeed before."""
    submitted: str
    """Time of the submission in ISO format."""
    cancelled: bool = False
    """Whether the job was asked to save and exit, which takes a while."""


def jobs_file(run_dir: Path) -> Path:
    """Return the file of the record."""
    return slurm_directory(run_dir) / "jobs.json"


def submitted_jobs(run_dir: Path) -> tuple[SubmittedJob, ...]:
    """Return all jobs ever submitted for a run, oldest first. Raises SchedulerError if the record cannot be read."""
    file = jobs_file(run_dir)
    try:
        jobs = read_json(file)["jobs"]
        return tuple(
            SubmittedJob(**{**job, "paths": tuple(job["paths"]), "after": tuple(job["after"])}) for job in jobs
        )
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SchedulerError(
            f"{file}: cannot be read ({error}); delete it: queued jobs are recognised by their comment"
        ) from None


def newest_jobs(run_dir: Path) -> dict[str, SubmittedJob]:
    """Return path -> the job that was submitted last for it."""
    return {name: job for job in submitted_jobs(run_dir) for name in job.paths}


def record_job(run_dir: Path, job: SubmittedJob) -> None:
    """Add a job to the record, or replace the job with its id; the file is written atomically."""
    jobs = {each.job_id: each for each in submitted_jobs(run_dir)} | {job.job_id: job}
    atomic_write_json(
        jobs_file(run_dir), {"format": "lrps-slurm-jobs/1", "jobs": [asdict(job) for job in jobs.values()]}
    )


@contextmanager
def one_submitter(run_dir: Path) -> Iterator[None]:
    """Lock the record of a run against other processes that submit or cancel jobs; wait for the lock.

    Raises SchedulerError if the run directory cannot be written.
    """
    directory = slurm_directory(run_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = open(directory / "lock", "a", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise SchedulerError(
            f"{directory}: cannot be written ({error.strerror}); submit and cancel as the owner of the run directory"
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
