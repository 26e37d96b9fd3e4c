"""The verbs `run`, `train`, `evaluate` and `cancel`: process groups on this machine, on hosts or in Slurm."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrps.base.errors import INTERRUPTED, NEEDS_DECISION, BudgetError, ConfigError
from lrps.cli.completion import complete_paradigm, complete_path, complete_version
from lrps.cli.options import ConfigFile, Overrides, check_paradigms, check_selected_versions, load_plan
from lrps.cli.report import print_and_write_report
from lrps.cli.streams import print_exactly

if TYPE_CHECKING:
    from lrps.costs.budget_state import BudgetState
    from lrps.launch.launchers.launcher import HostLauncher
    from lrps.launch.launchers.slurm import SlurmLauncher
    from lrps.launch.process_group import ProcessGroupJob
    from lrps.plan.plan import Plan
    from lrps.train.saved_states import SavedSteps


JobsOf = Callable[[Sequence[str]], "tuple[ProcessGroupJob, ...]"]
"""Function that cuts the paths with these names into jobs."""

OnlyParadigms = Annotated[
    list[str] | None,
    typer.Option(
        "--paradigm",
        metavar="NAME",
        help="Only this paradigm of the config. May be repeated.",
        autocompletion=complete_paradigm,
    ),
]


OnlyVersions = Annotated[
    list[str] | None,
    typer.Option(
        "--version",
        metavar="NAME",
        help="Only the releases of this version and their ancestors. May be repeated.",
        autocompletion=complete_version,
    ),
]


OtherLauncher = Annotated[
    str | None,
    typer.Option(
        "--launcher", metavar="local|deepspeed|torchrun|slurm", help="Replaces launch.launcher of the config."
    ),
]


ProfiledSteps = Annotated[
    int | None,
    typer.Option("--profile", metavar="STEPS", min=1, help="Write a torch profiler trace of this many steps."),
]


PathNames = Annotated[
    list[str],
    typer.Argument(metavar="PATH...", help="Names of paths, as `lrps plan` shows them.", autocompletion=complete_path),
]


def run(
    config_file: ConfigFile,
    overrides: Overrides = None,
    paradigm: OnlyParadigms = None,
    version: OnlyVersions = None,
    launcher: OtherLauncher = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the exact commands and files, and stop.")] = False,
    profile: ProfiledSteps = None,
) -> None:
    """Train and evaluate what is missing, then write the report. Ctrl-C saves; the same command continues.

    With launcher slurm it submits jobs for what is missing and not yet queued, and returns. Paths that read a
    rehearsal set with `synthesis` wait until `lrps rehearse` has written it; then the same command trains them.
    With --version a main path is trained as far as the plan takes it.
    """
    from lrps.costs.budget_state import budget_refusal, check_budget
    from lrps.costs.planned.plan_document import write_plan_json
    from lrps.launch.jobs import plan_jobs
    from lrps.launch.launchers.registry import launcher_of
    from lrps.launch.launchers.slurm import SlurmLauncher
    from lrps.launch.preflight import check_shards, check_written, waiting_text

    overrides = [*(overrides or []), *([f"launch.launcher={launcher}"] if launcher else [])]
    made = _loaded(config_file, overrides, paradigm, version, dry_run=dry_run)
    names, waiting = _missing(made, paradigm or (), version or ())
    chosen = launcher_of(made.config.launch)
    jobs_of = partial(plan_jobs, made, config_file=config_file, overrides=overrides, profile=profile)
    budget = _budget(made, {*names, *waiting})
    lines = _run_lines(made, budget)
    nothing = [] if names or waiting else [_nothing_to_do(made, bool(paradigm or version))]
    if dry_run:
        lines += nothing
        if budget is not None and not budget.is_enough:
            lines.append(f"`lrps run` would refuse this: {budget_refusal(budget)}")
        lines += [waiting_text(waiting, config_file, overrides)] if waiting else []
        typer.echo("\n".join(f"# {line}" for line in lines))  # As comments of the script.
        _show_jobs(made, names, chosen, jobs_of)
        return
    check_budget(budget)
    check_shards(made)
    typer.echo("\n".join(lines))
    write_plan_json(made)
    if isinstance(chosen, SlurmLauncher):
        submit_missing(made, names, jobs_of)
    else:
        for line in nothing:
            typer.echo(line)
        _run_here(made, names, chosen, jobs_of)
    check_written(waiting, config_file, overrides)


def _loaded(
    config_file: Path,
    overrides: Sequence[str],
    paradigms: Sequence[str] | None,
    versions: Sequence[str] | None,
    *,
    dry_run: bool,
) -> Plan:
    """Return the plan to run. Unless dry_run, rewinds that a crash has cut short are completed first.

    Raises ConfigError for an unknown name among the paradigms and versions that were selected.
    """
    from lrps.plan.rewind import finish_rewinds

    made = load_plan(config_file, overrides)
    check_paradigms(made, paradigms)
    check_selected_versions(made, versions)
    if not dry_run:
        finish_rewinds(made)
    return made


def _run_lines(made: Plan, budget: BudgetState | None) -> list[str]:
    """Return where the run is and what of it is done, and what is left of its budget."""
    from lrps.costs.planned.plan_document import plan_document
    from lrps.plan.status import done_steps
    from lrps.report.forecast_lines import budget_line
    from lrps.report.run_directory import run_directory_line

    where = run_directory_line(plan_document(made, done_steps(made)))
    return [where] if budget is None else [where, budget_line(budget)]


def _nothing_to_do(made: Plan, selected: bool = False) -> str:
    what = "everything that was selected" if selected else "everything"
    return f"{made.config.name}: {what} is trained and evaluated already"


def _budget(made: Plan, names: Collection[str]) -> BudgetState | None:
    """Return the state of the budget before these paths are run; None without a budget or without paths."""
    from lrps.costs.budget_state import budget_state
    from lrps.costs.remaining import measured_speed, steps_to_do
    from lrps.plan.status import plan_status

    if made.config.budget is None or not names:
        return None
    statuses = plan_status(made)
    steps = sum(steps_to_do(status) for status in statuses if status.path.name in names)
    return budget_state(made, steps, measured_speed(statuses))


def _missing(made: Plan, paradigms: Sequence[str], versions: Sequence[str]) -> tuple[list[str], dict[str, set[str]]]:
    """Return the paths to train now, and those that wait: name -> rehearsal sets that are not written yet.

    Raises an LrpsError if the run directory, a branch point, a tracker or the model would make training fail.
    """
    from lrps.launch.jobs import unfinished_paths
    from lrps.launch.preflight import check_forks, check_model_fits, waiting_for_sets
    from lrps.plan.status import check_run_dir
    from lrps.plan.tokenizer import check_tokenizer
    from lrps.track.trackers import check_trackers
    from lrps.track.webhook import check_webhook

    missing = unfinished_paths(made, paradigms, versions)
    check_run_dir(made, [status.path for status in missing])
    check_forks(made, missing)
    check_trackers(made.config.track)
    check_webhook(made.config.track)
    if missing:
        check_model_fits(made)
        if made.manifests:
            check_tokenizer(made)
    waiting = waiting_for_sets(made, missing)
    return [status.path.name for status in missing if status.path.name not in waiting], waiting


def _show_jobs(made: Plan, names: Sequence[str], launcher: HostLauncher | SlurmLauncher, jobs_of: JobsOf) -> None:
    """Print the commands that would start the process groups, or the scripts of their Slurm jobs, as a shell script."""
    from lrps.launch.launchers.slurm import SlurmLauncher
    from lrps.launch.run import commands_of

    if isinstance(launcher, SlurmLauncher):
        show_scripts(made, names, jobs_of)
    elif jobs := jobs_of(names):
        print_exactly(commands_of(made, jobs, launcher))


def _run_here(made: Plan, names: Sequence[str], launcher: HostLauncher, jobs_of: JobsOf) -> None:
    """Run the paths as process groups that this process starts and watches, then write the report."""
    from lrps.costs.status_document import status_document
    from lrps.launch.launcher_watch import watch_launchers
    from lrps.launch.preflight import check_idle
    from lrps.launch.run import run_jobs
    from lrps.plan.status import plan_status
    from lrps.report.status_lines import totals_line
    from lrps.track.webhook import Webhook

    jobs = jobs_of(names)
    check_idle(made.layout, names)
    watch_launchers(2 * made.config.launch.grace_seconds)  # Workers have the first half.
    if jobs:
        typer.echo(f"{made.config.name}: {len(names)} paths to do in {len(jobs)} process groups")
    with Webhook(made.config.name, made.config.track.notify_address, typer.echo) as webhook:
        run_jobs(
            made,
            jobs,
            launcher,
            typer.echo,
            lambda: totals_line(status_document(made, plan_status(made))),
            webhook.notify,
        )
    print_and_write_report(made, ("html", "json"))


def train(
    config_file: ConfigFile, paths: PathNames, overrides: Overrides = None, profile: ProfiledSteps = None
) -> None:
    """Train these paths one after the other, in the order of the plan, as one process group.

    Started by `deepspeed`, `torchrun` or `srun`.
    """
    _run_job(config_file, paths, overrides, train=True, profile=profile)


def evaluate(
    config_file: ConfigFile,
    paths: PathNames,
    overrides: Overrides = None,
    steps: Annotated[
        str | None,
        typer.Option(metavar="all|N,M", help="Evaluate the saved states of these steps, also of an unfinished path."),
    ] = None,
) -> None:
    """Evaluate trained paths on the held-out sets that they have no result for. Started like `train`.

    With --steps it evaluates saved states of a main path on the sets that the path is watched on.
    """
    _run_job(config_file, paths, overrides, train=False, saved_steps=None if steps is None else _saved_steps(steps))


def _saved_steps(text: str) -> SavedSteps:
    """Return the steps in `all` or `N,M`. Raises ConfigError for anything else."""
    if text.strip() == "all":
        return "all"
    try:
        return tuple(int(step) for step in text.split(","))
    except ValueError:
        raise ConfigError(f"--steps {text}: give `all`, or steps separated by commas, as in --steps 500,1000") from None


def _run_job(
    config_file: Path,
    paths: Sequence[str],
    overrides: Sequence[str] | None,
    *,
    train: bool,
    saved_steps: SavedSteps | None = None,
    profile: int | None = None,
) -> None:
    from lrps.launch.launcher_watch import watch_launchers
    from lrps.launch.process_group import SUPERVISED, THREADS
    from lrps.launch.rendezvous import rendezvous
    from lrps.track.trackers import check_trackers
    from lrps.train.signals import StopRequest

    stop_request = StopRequest()  # First of all: ranks that are asked to stop while they start end together.
    os.environ.update(rendezvous(os.environ))
    made = load_plan(config_file, overrides)
    check_trackers(made.config.track)
    watch_launchers(made.config.launch.grace_seconds)
    if (threads := made.config.launch.threads) is not None:
        os.environ[THREADS] = str(threads)  # Read when torch is imported.

    # Importing torch takes seconds: every mistake that can be found without it has been reported by now.
    from lrps.train.job import run_job

    try:
        finished = run_job(made, paths, stop_request, train=train, saved_steps=saved_steps, profile=profile)
        code = INTERRUPTED
    except BudgetError:  # Rank 0 has said so.
        finished, code = False, NEEDS_DECISION
    if not finished:
        raise typer.Exit(0 if SUPERVISED in os.environ else code)


def submit_missing(plan: Plan, names: Sequence[str], jobs_of: JobsOf) -> None:
    """Submit the missing paths as jobs, print the jobs and return."""
    from lrps.launch.slurm.path_jobs import path_jobs
    from lrps.launch.slurm.submit import submit
    from lrps.report.table import Table, text_column
    from lrps.report.terminal import print_table

    troubles = {name: job.trouble for name, job in path_jobs(plan.layout.run_dir).items() if job.trouble}
    jobs = submit(plan, names, jobs_of)
    for name in names:
        if name in troubles:
            typer.echo(f"before: {name}: {troubles[name]}")
    if not jobs:
        typer.echo(_nothing_to_do(plan))
        return
    columns = tuple(map(text_column, ("path", "job", "after", "state")))
    rows = tuple((", ".join(job.paths), job.job_id, ", ".join(job.after), job.state) for job in jobs)
    print_table(Table(f"{plan.config.name}: jobs", columns, rows))
    typer.echo(
        "`lrps status` shows their state, `lrps cancel` cancels them; once they are done, `lrps report` compares"
    )


def show_scripts(plan: Plan, names: Sequence[str], jobs_of: JobsOf) -> None:
    """Print the scripts of the paths that are in no job yet, and the commands that would submit them."""
    from lrps.base.errors import SchedulerError
    from lrps.launch.slurm.concealed import shown_options
    from lrps.launch.slurm.names import script_file
    from lrps.launch.slurm.queue import queued_jobs
    from lrps.launch.slurm.script import script_text
    from lrps.launch.slurm.submit import jobs_to_wait_for, sbatch_command

    run_dir = plan.layout.run_dir
    shown = shown_options(plan.config.launch.slurm)
    if shown != plan.config.launch.slurm:
        typer.echo("# `...`: a value of launch.slurm.setup or directives that may be a secret, as your config has it.")
    ids: dict[str, str] = {}
    with suppress(SchedulerError):  # Without Slurm no jobs are queued.
        ids = {name: job.job_id for job in queued_jobs(run_dir) if job.is_active for name in job.paths}
    for job in jobs_of([name for name in names if name not in ids]):
        after = jobs_to_wait_for(plan, job, ids)
        file = script_file(run_dir, job.name)
        print_exactly(f"# {file}\n{script_text(plan, job, shown)}")
        print_exactly(f"# {' '.join(sbatch_command(run_dir, job.paths, file, after))}\n")
        ids |= dict.fromkeys(job.paths, f"<job of {job.name}>")


def cancel(
    config_file: ConfigFile,
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Names of paths; by default all.", autocompletion=complete_path),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Cancel the Slurm jobs of these paths and those that wait for them. Running jobs save first.

    `lrps run --launcher slurm` submits what is missing again, and training continues from what was saved.
    """
    from lrps.launch.slurm.cancel import cancel_jobs

    plan = load_plan(config_file, overrides)
    cancelled = cancel_jobs(plan, [path.name for path in plan.named_paths(paths or ())])
    for job in cancelled:
        how = "saves and exits" if job.saves_first else "cancelled"
        typer.echo(f"{', '.join(job.paths)}: job {job.job_id} {how}")
    if not cancelled:
        typer.echo("no jobs of this plan are queued")
