"""Submission of unfinished paths as jobs, parents before children; jobs that are queued already are not changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lrps.base.errors import CheckpointError, LineageError, SchedulerError
from lrps.base.files import atomic_write_text
from lrps.launch.process_group import ProcessGroupJob
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
    """Ids of the jobs that it waits for; empty for a job that was queued before."""
    state: str
    """`submitted`, or the state of a job that was queued before; `ending` if that has been cancelled."""


def submit(
    plan: Plan, names: Sequence[str], jobs_of: Callable[[Sequence[str]], Sequence[ProcessGroupJob]]
) -> tuple[Submission, ...]:
    """Submit the paths that no queued job trains, or only a cancelled one that has not ended yet; return all jobs.

    names: parents before children. jobs_of: cuts paths into jobs, see lrps.launch.jobs. Raises SchedulerError if Slurm
    rejects a job; the jobs before it are submitted then, and the same command submits the others.
    """
    run_dir = plan.layout.run_dir
    with one_submitter(run_dir):
        cancelled = {job.job_id for job in submitted_jobs(run_dir) if job.cancelled}
        found = [job for job in queued_jobs(run_dir) if job.is_active]
        ending = [job for job in found if job.job_id in cancelled and job.state != "PENDING"]
        done = [Submission(job.job_id, job.paths, (), "ending" if job in ending else job.state) for job in found]
        ids = {name: job.job_id for job in found if job not in ending for name in job.paths}
        for job in jobs_of([name for name in names if name not in ids]):
            after = jobs_to_wait_for(plan, job, ids)
            before = tuple(each.job_id for each in ending if set(each.paths) & set(job.paths))
            job_id = _job_id(slurm(*sbatch_command(run_dir, job.paths, write_script(plan, job), after, before)))
            time = datetime.now(UTC).isoformat(timespec="seconds")
            record_job(run_dir, SubmittedJob(job_id, job.paths, after, time))
            done.append(Submission(job_id, job.paths, (*after, *before), "submitted"))
            ids |= dict.fromkeys(job.paths, job_id)
        return tuple(done)


def jobs_to_wait_for(plan: Plan, job: ProcessGroupJob, ids: Mapping[str, str]) -> tuple[str, ...]:
    """Return the ids of the queued jobs that will save the branch points from which a job starts.

    None of a branch point that is pinned already: the branch starts at once, even while its parent still trains. ids:
    path -> id of its queued job. Raises LineageError if a branch point is neither saved nor going to be.
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
            f"run the paradigm that trains {parent.path} as well"
        ) from None


def write_script(plan: Plan, job: ProcessGroupJob) -> Path:
    """Write the script of a job, executable and readable for its owner only, and return its file."""
    file = script_file(plan.layout.run_dir, job.name)
    atomic_write_text(file, script_text(plan, job))
    os.chmod(file, 0o700)
    return file


def sbatch_command(
    run_dir: Path, paths: Sequence[str], script: Path, after: Sequence[str], before: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the command that submits a script.

    after: ids of jobs that must succeed; if one does not, this job is cancelled. before: ids of jobs that must end
    first, successfully or not. The comment, by which lrps finds the job again, is an option here as well, because an
    edited template or the environment may lack it.
    """
    kinds = (("afterok", after), ("afterany", before))
    waits = ",".join(f"{kind}:{':'.join(ids)}" for kind, ids in kinds if ids)
    wait = (f"--dependency={waits}", "--kill-on-invalid-dep=yes") if waits else ()
    return ("sbatch", "--parsable", f"--comment={job_comment(run_dir, paths)}", *wait, str(script))


def _job_id(output: str) -> str:
    """Return the job's id from the output of `sbatch --parsable`, `ID` or `ID;CLUSTER`."""
    job_id = output.strip().split(";")[0]
    if not job_id.isdigit():
        raise SchedulerError(
            f"sbatch answered {output!r} instead of a job's id; look at squeue before you run this again"
        )
    return job_id
