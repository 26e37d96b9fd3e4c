"""Submitting missing paths to Slurm from the command line, and the verb `cancel`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrps.cli.options import ConfigFile, Overrides

if TYPE_CHECKING:
    from lrps.plan.plan import Plan


def submit_missing(plan: Plan, names: Sequence[str], config_file: Path, overrides: Sequence[str]) -> None:
    """Submit the missing paths as jobs, print the jobs and return."""
    from lrps.launch.jobs import plan_jobs
    from lrps.launch.slurm.path_jobs import path_jobs
    from lrps.launch.slurm.submit import submit
    from lrps.report.text import print_table

    troubles = {name: job.trouble for name, job in path_jobs(plan.layout.run_dir).items() if job.trouble}
    jobs = submit(plan, names, lambda chosen: plan_jobs(plan, chosen, config_file, overrides))
    for name in names:
        if name in troubles:
            typer.echo(f"before: {name}: {troubles[name]}")
    if not jobs:
        typer.echo(f"{plan.config.name}: everything is trained and evaluated already")
        return
    rows = [(", ".join(job.paths), job.job_id, ", ".join(job.after), job.state) for job in jobs]
    print_table(f"{plan.config.name}: jobs", ("path", "job", "after", "state"), rows, left=4)
    typer.echo(
        "`lrps status` shows their state, `lrps cancel` cancels them; once they are done, `lrps report` compares"
    )


def jobs_shown(plan: Plan) -> Callable[[], dict[str, dict[str, Any]]]:
    """Return a function that returns path -> its newest job, as JSON values, at each call."""
    from dataclasses import asdict

    from lrps.launch.slurm.path_jobs import PathJobReader

    reader = PathJobReader(plan.layout.run_dir)
    return lambda: {name: asdict(job) for name, job in reader.read().items()}


def show_scripts(plan: Plan, names: Sequence[str], config_file: Path, overrides: Sequence[str]) -> None:
    """Print the scripts of the paths that are in no job yet, and the commands that would submit them."""
    from lrps.base.errors import SchedulerError
    from lrps.launch.jobs import plan_jobs
    from lrps.launch.slurm.names import script_file
    from lrps.launch.slurm.queue import queued_jobs
    from lrps.launch.slurm.script import script_text
    from lrps.launch.slurm.submit import jobs_to_wait_for, sbatch_command

    run_dir = plan.layout.run_dir
    ids: dict[str, str] = {}
    with suppress(SchedulerError):  # Without Slurm no jobs are queued.
        ids = {name: job.job_id for job in queued_jobs(run_dir) if job.is_active for name in job.paths}
    for job in plan_jobs(plan, [name for name in names if name not in ids], config_file, overrides):
        after = jobs_to_wait_for(plan, job, ids)
        file = script_file(run_dir, job.name)
        typer.echo(f"# {file}\n{script_text(plan, job)}")
        typer.echo(f"# {' '.join(sbatch_command(run_dir, job.paths, file, after))}\n")
        ids |= dict.fromkeys(job.paths, f"<job of {job.name}>")


def cancel(
    config_file: ConfigFile,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Names of paths; by default all.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Cancel the Slurm jobs of these paths and those that wait for them. Running jobs save first.

    `lrps run --launcher slurm` submits what is missing again, and training continues from what was saved.
    """
    from lrps.launch.slurm.cancel import cancel_jobs
    from lrps.plan.plan import load_plan

    plan = load_plan(config_file, overrides)
    cancelled = cancel_jobs(plan, [path.name for path in plan.named_paths(paths or ())])
    for job in cancelled:
        how = "saves and exits" if job.saves_first else "cancelled"
        typer.echo(f"{', '.join(job.paths)}: job {job.job_id} {how}")
    if not cancelled:
        typer.echo("no jobs of this plan are queued")
