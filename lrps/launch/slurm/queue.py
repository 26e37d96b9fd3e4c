"""What Slurm says of a run's jobs, read from squeue and, for those that ended a while ago, sacct."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from lrps.base.errors import SchedulerError
from lrps.launch.slurm.command import slurm
from lrps.launch.slurm.names import comment_prefix
from lrps.plan.plan import Plan

ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
        *("REVOKED", "TIMEOUT"),
    }
)
"""States that a job does not leave by itself. A requeued one is PENDING again."""


@dataclass(frozen=True)
class QueuedJob:
    """A job as Slurm knows it."""

    job_id: str
    paths: tuple[str, ...]
    state: str
    """As Slurm names it: PENDING, RUNNING, COMPLETED, FAILED ..."""
    reason: str = ""
    """Why it waits, or ended; empty for none."""

    @property
    def is_active(self) -> bool:
        return self.state not in ENDED


def queued_jobs(plan: Plan) -> tuple[QueuedJob, ...]:
    """This user's jobs of this run that Slurm still holds, those that ended minutes ago among them, oldest first.

    Raises SchedulerError if squeue is not here or does not answer.
    """
    return parse_queue(slurm("squeue", "--noheader", "--me", "--states=all", "--format=%A|%T|%r|%k"), plan)


def parse_queue(text: str, plan: Plan) -> tuple[QueuedJob, ...]:
    """The lines `id|state|reason|comment` of squeue that are of this run."""
    prefix, jobs = comment_prefix(plan), []
    for line in text.splitlines():
        job_id, state, reason, comment = (*line.strip().split("|", 3), "", "", "", "")[:4]
        if comment.startswith(prefix) and job_id.isdigit():
            names = tuple(comment.removeprefix(prefix).split(","))
            jobs.append(QueuedJob(job_id, names, state, "" if reason == "None" else reason))
    return tuple(sorted(jobs, key=lambda job: int(job.job_id)))


def accounted_states(job_ids: Iterable[str]) -> dict[str, str]:
    """job id -> state, by sacct; empty where the cluster keeps no accounts."""
    wanted = ",".join(job_ids)
    if not wanted:
        return {}
    with suppress(SchedulerError):
        text = slurm("sacct", "-X", "--noheader", "--parsable2", f"--jobs={wanted}", "--format=JobID,State")
        return parse_accounts(text)
    return {}


def parse_accounts(text: str) -> dict[str, str]:
    """The lines `id|state` of sacct. `CANCELLED by 1000` is CANCELLED."""
    pairs = (line.split("|", 1) for line in text.splitlines() if "|" in line)
    return {job_id: state.split(" ")[0] for job_id, state in pairs}
