"""The states of a run's jobs, from squeue and, for jobs that ended a while ago, from sacct."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lrps.base.errors import SchedulerError
from lrps.launch.slurm.command import slurm
from lrps.launch.slurm.names import comment_prefix

FINAL_STATES = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
        *("REVOKED", "TIMEOUT"),
    }
)
"""Final states of a job. A requeued job is PENDING again."""


@dataclass(frozen=True)
class QueuedJob:
    """A job in Slurm's queue, or one that ended a short time ago."""

    job_id: str
    paths: tuple[str, ...]
    state: str
    """Slurm's name of its state: PENDING, RUNNING, COMPLETED, FAILED ..."""
    reason: str = ""
    """Reason why it waits or ended, in Slurm's words; may be empty."""

    @property
    def is_active(self) -> bool:
        """Whether the job has not ended."""
        return self.state not in FINAL_STATES


def queued_jobs(run_dir: Path) -> tuple[QueuedJob, ...]:
    """Return this user's jobs of a run that Slurm still lists, oldest first; they may have ended minutes ago.

    Raises SchedulerError if squeue is not installed or does not answer.
    """
    return parse_queue(slurm("squeue", "--noheader", "--me", "--states=all", "--format=%A|%T|%r|%k"), run_dir)


def parse_queue(text: str, run_dir: Path) -> tuple[QueuedJob, ...]:
    """Return the jobs of a run among the lines `id|state|reason|comment` of squeue."""
    prefix, jobs = comment_prefix(run_dir), []
    for line in text.splitlines():
        job_id, state, reason, comment = (*line.strip().split("|", 3), "", "", "", "")[:4]
        if comment.startswith(prefix) and job_id.isdigit():
            names = tuple(comment.removeprefix(prefix).split(","))
            jobs.append(QueuedJob(job_id, names, state, "" if reason == "None" else reason))
    return tuple(sorted(jobs, key=lambda job: int(job.job_id)))


def accounted_states(job_ids: Iterable[str]) -> dict[str, str]:
    """Return job id -> state according to sacct; empty if the cluster keeps no accounts."""
    wanted = ",".join(job_ids)
    if not wanted:
        return {}
    with suppress(SchedulerError):
        text = slurm("sacct", "-X", "--noheader", "--parsable2", f"--jobs={wanted}", "--format=JobID,State")
        return parse_accounts(text)
    return {}


def parse_accounts(text: str) -> dict[str, str]:
    """Return job id -> state from the lines `id|state` of sacct; `CANCELLED by 1000` becomes CANCELLED."""
    pairs = (line.split("|", 1) for line in text.splitlines() if "|" in line)
    return {job_id: state.split(" ")[0] for job_id, state in pairs}
