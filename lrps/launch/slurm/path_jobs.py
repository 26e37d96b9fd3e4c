"""The newest job of every path, which `lrps status` shows beside the state of the path."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lrps.base.errors import SchedulerError
from lrps.launch.slurm.names import output_file, slurm_directory
from lrps.launch.slurm.queue import QueuedJob, accounted_states, queued_jobs
from lrps.launch.slurm.record import SubmittedJob, newest_jobs

_TAIL_BYTES = 65536
_ERROR_PREFIX = "lrps: "
"""Beginning of the line in which the command line reports an error."""


@dataclass(frozen=True)
class PathJob:
    """The newest job of a path."""

    job_id: str
    state: str | None
    """Slurm's name of its state; None if Slurm does not answer or has forgotten the job."""
    reason: str = ""
    trouble: str | None = None
    """Reason why it failed; None if it did not."""


def path_jobs(run_dir: Path) -> dict[str, PathJob]:
    """Return path -> its newest job in the record and the queue; empty for a run that was never submitted.

    Raises nothing: states are None if Slurm is not installed or does not answer.
    """
    if not slurm_directory(run_dir).exists():
        return {}
    try:
        submitted = newest_jobs(run_dir)
    except SchedulerError:
        submitted = {}
    try:
        known = {job.job_id: job for job in queued_jobs(run_dir)}
    except SchedulerError:
        return {name: PathJob(job.job_id, None) for name, job in submitted.items()}
    for job in known.values():  # The record may have lost jobs that are in the queue.
        newer = SubmittedJob(job.job_id, job.paths, (), "")
        lost = (name for name in job.paths if name not in submitted or int(submitted[name].job_id) < int(job.job_id))
        submitted |= dict.fromkeys(lost, newer)
    forgotten = {job.job_id: job for job in submitted.values() if job.job_id not in known}
    for job_id, state in accounted_states(forgotten).items():
        known[job_id] = QueuedJob(job_id, forgotten[job_id].paths, state)
    return {name: _path_job(run_dir, job, known) for name, job in submitted.items()}


def _path_job(run_dir: Path, submitted: SubmittedJob, known: Mapping[str, QueuedJob]) -> PathJob:
    job = known.get(submitted.job_id)
    if job is None:
        return PathJob(submitted.job_id, None)
    trouble = None
    if not job.is_active and job.state != "COMPLETED":
        trouble = f"job {job.job_id} {job.state}: {_cause(run_dir, submitted, known)}"
    return PathJob(job.job_id, job.state, job.reason, trouble)


def _cause(run_dir: Path, submitted: SubmittedJob, known: Mapping[str, QueuedJob]) -> str:
    output = output_file(run_dir, submitted.paths[0], submitted.job_id)
    if output.exists():
        error = _last_error(output)
        return f"{error}; see {output}" if error else f"see {output}"
    for job in (known[each] for each in submitted.after if each in known):
        if not job.is_active and job.state != "COMPLETED":
            return f"it waited for {job.paths[0]}, whose job {job.job_id} is {job.state}"
    return "it never ran"


def _last_error(output: Path) -> str | None:
    """Return the last line in which the command line reports an error."""
    try:
        with open(output, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    return next((line.strip() for line in reversed(lines) if line.startswith(_ERROR_PREFIX)), None)


class PathJobReader:
    """The newest jobs of a run for repeated reading; queries Slurm at most every `every_seconds`."""

    def __init__(self, run_dir: Path, every_seconds: float = 30.0) -> None:
        self._run_dir, self._every = run_dir, every_seconds
        self._jobs: dict[str, PathJob] = {}
        self._query_time = -every_seconds

    def read(self) -> dict[str, PathJob]:
        """Return path -> its newest job, as of at most `every_seconds` ago."""
        if time.monotonic() - self._query_time >= self._every:
            self._jobs, self._query_time = path_jobs(self._run_dir), time.monotonic()
        return self._jobs
