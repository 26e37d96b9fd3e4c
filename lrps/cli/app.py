"""The command line: a verb is a few lines that load a config, call one function and print.

Heavy imports stay inside the verbs that need them: plan, status and report start in well under a second.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrps import __version__
from lrps.base.errors import INTERRUPTED, LrpsError
from lrps.cli.compare import compare, sweep
from lrps.cli.convert import convert_app
from lrps.cli.data import data_app
from lrps.cli.doctor import doctor, doctor_worker
from lrps.cli.export import export
from lrps.cli.ledger import ledger_app
from lrps.cli.options import AsJson, ConfigFile, Overrides, print_json
from lrps.cli.rehearse import rehearse
from lrps.cli.score import score
from lrps.cli.slurm import cancel, jobs_shown, show_scripts, submit_missing
from lrps.cli.store import prune
from lrps.cli.transfer import pull, push
from lrps.cli.wandb import wandb_app

if TYPE_CHECKING:
    from lrps.launch.jobs import ProcessGroupJob
    from lrps.plan.plan import Plan

app = typer.Typer(
    name="lrps",
    help="Pretraining of LLM version updates by learning-rate path switching.\n\n"
    "A config file describes data versions, a model and paradigms; `plan` shows what that costs, `run` trains what is "
    "missing, `report` compares the paradigms. Start with: lrps plan configs/demo.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
app.add_typer(wandb_app, name="wandb")
app.add_typer(ledger_app, name="ledger")
app.add_typer(convert_app, name="convert")
app.command()(compare)
app.command()(sweep)
app.command()(doctor)
app.command("doctor-worker", hidden=True)(doctor_worker)
app.command()(export)
app.command()(rehearse)
app.command()(score)
app.command()(prune)
app.command()(cancel)
app.command()(push)
app.command()(pull)

OnlyParadigms = Annotated[
    list[str] | None,
    typer.Option("--paradigm", metavar="NAME", help="Only this paradigm of the config. May be repeated."),
]
PathNames = Annotated[list[str], typer.Argument(metavar="PATH...", help="Names of paths, as `lrps plan` shows them.")]


def _load_plan(config_file: Path, overrides: Sequence[str] | None) -> Plan:
    from lrps.config.loader import load_config
    from lrps.plan.plan import make_plan

    return make_plan(load_config(config_file, overrides or ()))


@app.command()
def plan(config_file: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show every path, what it costs and what is still to do. Trains nothing."""
    from lrps.costs.document import to_json
    from lrps.costs.plan_document import plan_document
    from lrps.plan.status import check_run_dir, done_steps
    from lrps.report.plan_text import print_plan

    made = _load_plan(config_file, overrides)
    document = plan_document(made, done_steps(made))
    print_json(to_json(document)) if as_json else print_plan(document)
    try:
        check_run_dir(made, made.graph.paths)
    except LrpsError as error:
        typer.echo(f"note: `lrps run` would refuse this: {error}", err=True)


@app.command()
def run(
    config_file: ConfigFile,
    overrides: Overrides = None,
    paradigm: OnlyParadigms = None,
    launcher: Annotated[
        str | None,
        typer.Option(metavar="local|deepspeed|torchrun|slurm", help="Instead of launch.launcher of the config."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the exact commands and files, and stop.")] = False,
) -> None:
    """Train and evaluate what is missing, then write the report. Ctrl-C saves; the same command goes on.

    With launcher slurm it submits jobs for what is missing and not in the queue yet, and returns. Paths that read a
    rehearsal set with `synthesis` wait until `lrps rehearse` has written it; then the same command goes on with them.
    """
    from lrps.costs.plan_document import write_plan_json
    from lrps.launch.jobs import plan_jobs, unfinished_paths
    from lrps.launch.preflight import check_forks, check_shards, check_written, waiting_for_sets, waiting_text
    from lrps.plan.status import check_run_dir
    from lrps.track.trackers import check_trackers

    overrides = [*(overrides or []), *([f"launch.launcher={launcher}"] if launcher else [])]
    made = _load_plan(config_file, overrides)
    _known_paradigms(made, paradigm)
    missing = unfinished_paths(made, paradigm or ())
    check_run_dir(made, [status.path for status in missing])
    check_forks(made, missing)
    check_trackers(made.config.track)
    waiting = waiting_for_sets(made, missing)
    names = [status.path.name for status in missing if status.path.name not in waiting]
    jobs = plan_jobs(made, names, config_file, overrides)
    if dry_run:
        _show_commands(made, jobs, names, config_file, overrides)
        if waiting:  # As a comment of the script.
            typer.echo(f"# {waiting_text(waiting, config_file, overrides)}")
        return
    check_shards(made)
    write_plan_json(made)
    if made.config.launch.launcher == "slurm":
        submit_missing(made, names, config_file, overrides)
    else:
        if not names and not waiting:
            typer.echo(f"{made.config.name}: everything is trained and evaluated already")
        _run_here(made, jobs, names)
    check_written(waiting, config_file, overrides)


def _run_here(made: Plan, jobs: Sequence[ProcessGroupJob], names: Sequence[str]) -> None:
    """Work off the jobs as process groups that this process starts and watches."""
    from lrps.launch.preflight import check_idle
    from lrps.launch.run import run_jobs

    check_idle(made, names)
    if jobs:
        typer.echo(f"{made.config.name}: {len(names)} paths to do in {len(jobs)} process groups")
    run_jobs(made, jobs, typer.echo)
    _write_report(made, ("html", "json"))


def _show_commands(
    made: Plan, jobs: Sequence[ProcessGroupJob], names: Sequence[str], config_file: Path, overrides: Sequence[str]
) -> None:
    from lrps.launch.run import commands_of

    if made.config.launch.launcher == "slurm":
        show_scripts(made, names, config_file, overrides)
    elif jobs:
        typer.echo(commands_of(made, jobs))


@app.command()
def train(config_file: ConfigFile, paths: PathNames, overrides: Overrides = None) -> None:
    """The job of one process group: train these paths in a row. `deepspeed`, `torchrun` or `srun` starts it."""
    _run_job(config_file, paths, overrides, train=True)


@app.command()
def evaluate(config_file: ConfigFile, paths: PathNames, overrides: Overrides = None) -> None:
    """Evaluate trained paths on the held-out sets they have not been evaluated on. Starts like `train`."""
    _run_job(config_file, paths, overrides, train=False)


def _run_job(config_file: Path, paths: Sequence[str], overrides: Sequence[str] | None, *, train: bool) -> None:
    from lrps.launch.rendezvous import rendezvous
    from lrps.track.trackers import check_trackers

    os.environ.update(rendezvous(os.environ))
    made = _load_plan(config_file, overrides)
    check_trackers(made.config.track)

    # Takes seconds, for torch: after everything that can be told without it.
    from lrps.train.job import run_job

    if not run_job(made, paths, train=train):
        raise typer.Exit(INTERRUPTED)


@app.command()
def status(
    config_file: ConfigFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    live: Annotated[
        bool, typer.Option("--watch", help="Show it again and again; with --json one line a time.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often --watch looks.")] = 2.0,
) -> None:
    """Show the tree of paths: state, step, loss, speed, time to go, cost so far and to come.

    Reads files only, on any host that sees the run directory; where jobs were submitted it asks Slurm for them.
    --watch ends with 0 when everything is complete or on Ctrl-C, with 1 when a path has failed meanwhile and none runs
    any more.
    """
    made = _load_plan(config_file, overrides)
    if live:
        from lrps.report.watch import watch

        raise typer.Exit(watch(made, every, as_json, jobs_shown(made)))
    from lrps.costs.document import to_json
    from lrps.costs.status_document import status_document
    from lrps.plan.status import plan_status
    from lrps.report.status_table import print_status

    document = status_document(made, plan_status(made), jobs_shown(made)())
    print_json(to_json(document)) if as_json else print_status(document)


@app.command()
def report(
    config_file: ConfigFile,
    overrides: Overrides = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="F,F", help="Of html, md, csv, tex, json; written to <run>/report.")
    ] = "html,json",
    as_json: AsJson = False,
) -> None:
    """Compare the paradigms, measured beside planned: a table here, a page and files in the run directory."""
    from lrps.costs.comparison import make_comparison
    from lrps.costs.document import to_json
    from lrps.report.files import known_formats

    wanted = known_formats(formats.split(","))
    made = _load_plan(config_file, overrides)
    if as_json:
        print_json(to_json(make_comparison(made)))
    else:
        _write_report(made, wanted)


def _write_report(made: Plan, formats: Sequence[str]) -> None:
    from lrps.costs.comparison import make_comparison
    from lrps.report.comparison_text import print_comparison
    from lrps.report.files import write_report

    comparison = make_comparison(made)
    print_comparison(comparison)
    for file in write_report(made, comparison, formats):
        typer.echo(str(file))


@app.command()
def version() -> None:
    """Show the versions of lrps and of what it rests on."""
    from importlib.metadata import version as installed

    typer.echo(f"lrps {__version__}")
    for name in ("torch", "deepspeed", "transformers", "webdataset", "numpy", "wandb"):
        typer.echo(f"{name} {installed(name)}")


def _known_paradigms(made: Plan, names: Sequence[str] | None) -> None:
    from lrps.base.errors import ConfigError

    for name in names or ():
        if name not in made.config.paradigms:
            raise ConfigError(f"--paradigm {name}: the config has {', '.join(made.config.paradigms)}")
