"""The newest job of every path: what `lrps status` shows beside the path's own state."""

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
from lrps.plan.plan import Plan

_TAIL_BYTES = 65536
_SAYS_WHY = "lrps: "
"""How the command line begins its last line when something is wrong."""


@dataclass(frozen=True)
class PathJob:
    """The newest job of a path."""

    job_id: str
    state: str | None
    """As Slurm names it; None if Slurm cannot be asked or has forgotten the job."""
    reason: str = ""
    trouble: str | None = None
    """Why it ended without success, if it did."""


def path_jobs(plan: Plan) -> dict[str, PathJob]:
    """path -> its newest job, of those in the record and in the queue; empty for a run that never was in Slurm.

    Raises nothing: a Slurm that is not here or does not answer makes states None.
    """
    if not slurm_directory(plan).exists():
        return {}
    try:
        submitted = newest_jobs(plan)
    except SchedulerError:
        submitted = {}
    try:
        known = {job.job_id: job for job in queued_jobs(plan)}
    except SchedulerError:
        return {name: PathJob(job.job_id, None) for name, job in submitted.items()}
    for job in known.values():  # What the record has lost is still in the queue.
        newer = SubmittedJob(job.job_id, job.paths, (), "")
        lost = (name for name in job.paths if name not in submitted or int(submitted[name].job_id) < int(job.job_id))
        submitted |= dict.fromkeys(lost, newer)
    forgotten = {job.job_id: job for job in submitted.values() if job.job_id not in known}
    for job_id, state in accounted_states(forgotten).items():
        known[job_id] = QueuedJob(job_id, forgotten[job_id].paths, state)
    return {name: _path_job(plan, job, known) for name, job in submitted.items()}


def _path_job(plan: Plan, submitted: SubmittedJob, known: Mapping[str, QueuedJob]) -> PathJob:
    job = known.get(submitted.job_id)
    if job is None:
        return PathJob(submitted.job_id, None)
    trouble = None
    if not job.is_active and job.state != "COMPLETED":
        trouble = f"job {job.job_id} {job.state}: {_why(plan, submitted, known)}"
    return PathJob(job.job_id, job.state, job.reason, trouble)


def _why(plan: Plan, submitted: SubmittedJob, known: Mapping[str, QueuedJob]) -> str:
    output = output_file(plan, submitted.paths[0], submitted.job_id)
    if output.exists():
        said = _last_words(output)
        return f"{said}; see {output}" if said else f"see {output}"
    for job in (known[each] for each in submitted.after if each in known):
        if not job.is_active and job.state != "COMPLETED":
            return f"it waited for {job.paths[0]}, whose job {job.job_id} is {job.state}"
    return "it never ran"


def _last_words(output: Path) -> str | None:
    """The last line in which the command line says what is wrong."""
    try:
        with open(output, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    return next((line.strip() for line in reversed(lines) if line.startswith(_SAYS_WHY)), None)


class JobGlance:
    """The jobs of a run, looked at again and again: Slurm is asked no more often than it likes."""

    def __init__(self, plan: Plan, every_seconds: float = 30.0) -> None:
        self._plan, self._every = plan, every_seconds
        self._jobs: dict[str, PathJob] = {}
        self._asked = -every_seconds

    def look(self) -> dict[str, PathJob]:
        if time.monotonic() - self._asked >= self._every:
            self._jobs, self._asked = path_jobs(self._plan), time.monotonic()
        return self._jobs
