"""Submits the missing paths as jobs, parents before children; what is queued already stays as it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lrps.base.errors import CheckpointError, LineageError, SchedulerError
from lrps.base.files import atomic_write_text
from lrps.launch.jobs import ProcessGroupJob
from lrps.launch.slurm.command import slurm
from lrps.launch.slurm.names import job_comment, script_file
from lrps.launch.slurm.queue import queued_jobs
from lrps.launch.slurm.record import SubmittedJob, one_submitter, record_job, submitted_jobs
from lrps.launch.slurm.script import script_text
from lrps.paths.graph import Fork
from lrps.plan.plan import Plan
from lrps.store.checkpoints import complete_checkpoints, find
from lrps.store.layout import PathLayout


@dataclass(frozen=True)
class Submission:
    """A job in the queue."""

    job_id: str
    paths: tuple[str, ...]
    after: tuple[str, ...]
    """Ids of the jobs that it waits for; not known of a job that was in the queue before."""
    state: str
    """`submitted`, or the state of a job that was in the queue already; `ending` if that has been cancelled."""


def submit(
    plan: Plan, names: Sequence[str], jobs_of: Callable[[Sequence[str]], Sequence[ProcessGroupJob]]
) -> tuple[Submission, ...]:
    """Submit those of the paths that no job in the queue trains, or only one that was cancelled and still ends.

    names: parents before children. jobs_of: cuts paths into jobs, see lrps.launch.jobs. Raises SchedulerError if Slurm
    refuses a job: those before it are submitted, and the same command goes on.
    """
    with one_submitter(plan):
        cancelled = {job.job_id for job in submitted_jobs(plan) if job.cancelled}
        found = [job for job in queued_jobs(plan) if job.is_active]
        ending = [job for job in found if job.job_id in cancelled and job.state != "PENDING"]
        done = [Submission(job.job_id, job.paths, (), "ending" if job in ending else job.state) for job in found]
        ids = {name: job.job_id for job in found if job not in ending for name in job.paths}
        for job in jobs_of([name for name in names if name not in ids]):
            after = jobs_to_wait_for(plan, job, ids)
            before = tuple(each.job_id for each in ending if set(each.paths) & set(job.paths))
            job_id = _job_id(slurm(*sbatch_command(plan, job.paths, write_script(plan, job), after, before)))
            time = datetime.now(UTC).isoformat(timespec="seconds")
            record_job(plan, SubmittedJob(job_id, job.paths, after, time))
            done.append(Submission(job_id, job.paths, (*after, *before), "submitted"))
            ids |= dict.fromkeys(job.paths, job_id)
        return tuple(done)


def jobs_to_wait_for(plan: Plan, job: ProcessGroupJob, ids: Mapping[str, str]) -> tuple[str, ...]:
    """Ids of the jobs that make the states which this one starts from: none once those are saved.

    So a branch whose branch point is there starts at once, while the main path may go on. ids: path -> id, of all jobs
    in the queue. Raises LineageError if a state is neither saved nor going to be.
    """
    after = []
    for name in job.paths:
        parent = plan.graph.by_name[name].parent
        if parent is None or parent.path in job.paths:
            continue
        layout = plan.layout.path(parent.path)
        pinned = any(point.step == parent.step for point in complete_checkpoints(layout.branch_points))
        if not pinned and parent.path in ids:
            after.append(ids[parent.path])
        elif not pinned:
            _check_saved(layout, name, parent)
    return tuple(dict.fromkeys(after))


def _check_saved(layout: PathLayout, name: str, parent: Fork) -> None:
    try:
        find(layout, parent.step)
    except CheckpointError:
        raise LineageError(
            f"{name} forks from {parent.path} at step {parent.step}, which is neither saved nor in the queue; "
            f"run the paradigm that trains {parent.path}, too"
        ) from None


def write_script(plan: Plan, job: ProcessGroupJob) -> Path:
    """Write the script of a job, executable, and return its file."""
    file = script_file(plan, job.name)
    atomic_write_text(file, script_text(plan, job))
    os.chmod(file, 0o755)
    return file


def sbatch_command(
    plan: Plan, paths: Sequence[str], script: Path, after: Sequence[str], before: Sequence[str] = ()
) -> tuple[str, ...]:
    """What submits a script.

    after: ids of the jobs that have to succeed. If one does not, this one is cancelled instead of left waiting.
    before: ids of jobs that have to end first, in whatever way. The comment is said here too, where neither an edited
    template nor the environment can take it away: by it the job is found again.
    """
    kinds = (("afterok", after), ("afterany", before))
    waits = ",".join(f"{kind}:{':'.join(ids)}" for kind, ids in kinds if ids)
    wait = (f"--dependency={waits}", "--kill-on-invalid-dep=yes") if waits else ()
    return ("sbatch", "--parsable", f"--comment={job_comment(plan, paths)}", *wait, str(script))


def _job_id(told: str) -> str:
    """The first word of what sbatch --parsable prints, `ID` or `ID;CLUSTER`."""
    job_id = told.strip().split(";")[0]
    if not job_id.isdigit():
        raise SchedulerError(
            f"sbatch answered {told!r} instead of a job's id; look at squeue before you run this again"
        )
    return job_id
