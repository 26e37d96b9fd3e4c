"""What the command line does in Slurm: submit what is missing, and cancel it."""

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
    """Submit the missing paths, show the jobs and return: Slurm does the rest."""
    from lrps.launch.jobs import plan_jobs
    from lrps.launch.slurm.path_jobs import path_jobs
    from lrps.launch.slurm.submit import submit
    from lrps.report.table import Table, text_column
    from lrps.report.terminal import print_table

    troubles = {name: job.trouble for name, job in path_jobs(plan).items() if job.trouble}
    jobs = submit(plan, names, lambda chosen: plan_jobs(plan, chosen, config_file, overrides))
    for name in names:
        if name in troubles:
            typer.echo(f"before: {name}: {troubles[name]}")
    if not jobs:
        typer.echo(f"{plan.config.name}: everything is trained and evaluated already")
        return
    columns = tuple(map(text_column, ("path", "job", "after", "state")))
    rows = tuple((", ".join(job.paths), job.job_id, ", ".join(job.after), job.state) for job in jobs)
    print_table(Table(f"{plan.config.name}: jobs", columns, rows))
    typer.echo("`lrps status` follows them, `lrps cancel` ends them; once they are done, `lrps report` compares")


def jobs_shown(plan: Plan) -> Callable[[], dict[str, dict[str, Any]]]:
    """What tells path -> its newest job, as JSON values, whenever it is called."""
    from dataclasses import asdict

    from lrps.launch.slurm.path_jobs import JobGlance

    glance = JobGlance(plan)
    return lambda: {name: asdict(job) for name, job in glance.look().items()}


def show_scripts(plan: Plan, names: Sequence[str], config_file: Path, overrides: Sequence[str]) -> None:
    """Print the scripts of the paths that are in no job yet, and the commands that would submit them."""
    from lrps.base.errors import SchedulerError
    from lrps.launch.jobs import plan_jobs
    from lrps.launch.slurm.names import script_file
    from lrps.launch.slurm.queue import queued_jobs
    from lrps.launch.slurm.script import script_text
    from lrps.launch.slurm.submit import jobs_to_wait_for, sbatch_command

    ids: dict[str, str] = {}
    with suppress(SchedulerError):  # Without Slurm nothing is queued.
        ids = {name: job.job_id for job in queued_jobs(plan) if job.is_active for name in job.paths}
    for job in plan_jobs(plan, [name for name in names if name not in ids], config_file, overrides):
        after = jobs_to_wait_for(plan, job, ids)
        typer.echo(f"# {script_file(plan, job.name)}\n{script_text(plan, job)}")
        typer.echo(f"# {' '.join(sbatch_command(plan, job.paths, script_file(plan, job.name), after))}\n")
        ids |= dict.fromkeys(job.paths, f"<job of {job.name}>")


def cancel(
    config_file: ConfigFile,
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH...", help="By default all.")] = None,
    overrides: Overrides = None,
) -> None:
    """Cancel the Slurm jobs of these paths, and those that wait for them. Running ones save first.

    Nothing is lost: `lrps run --launcher slurm` submits again what is missing, and it goes on from what was saved.
    """
    from lrps.base.errors import ConfigError
    from lrps.config.loader import load_config
    from lrps.launch.slurm.cancel import cancel_jobs as cancel_jobs
    from lrps.plan.plan import make_plan

    plan = make_plan(load_config(config_file, overrides or ()))
    if unknown := [name for name in paths or () if name not in plan.graph.by_name]:
        raise ConfigError(f"the plan has no path {', '.join(unknown)}; it has {', '.join(plan.graph.by_name)}")
    cancelled = cancel_jobs(plan, paths or ())
    for job in cancelled:
        how = "saves and ends" if job.saves_first else "cancelled"
        typer.echo(f"{', '.join(job.paths)}: job {job.job_id} {how}")
    if not cancelled:
        typer.echo("nothing of it is in the queue")
