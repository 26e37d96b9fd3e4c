"""The verbs `plan` and `status`: what a config compiles to, and the state of its run directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from lrps.base.errors import LedgerError, LrpsError
from lrps.cli.options import AsJson, Overrides, PriceOption, Run, plan_of, print_json

if TYPE_CHECKING:
    from lrps.costs.plan_forecast import PlanForecast
    from lrps.costs.status_document import SlurmJob
    from lrps.plan.plan import Plan


def plan(run: Run, overrides: Overrides = None, price: PriceOption = None, as_json: AsJson = False) -> None:
    """Show every path, what it costs and what is still to do. Nothing is trained.

    Device time and money are at the speed that the run has measured, before its first step at the config's hardware;
    with --json both are there.
    """
    from lrps.base.document import to_json
    from lrps.costs.budget_state import check_budget
    from lrps.costs.plan_forecast import PlanForecast, plan_forecast
    from lrps.costs.planned.plan_document import plan_document
    from lrps.plan.status import begun_status, check_run_dir, done_steps

    made = plan_of(run, overrides, price)
    refused = None
    try:
        forecast = plan_forecast(made, done_steps(made), begun_status(made))
    except LedgerError as error:
        refused, forecast = error, PlanForecast(plan_document(made, done_steps(made)))
    print_json(to_json(forecast)) if as_json else _print(made, forecast)
    try:
        if refused is not None:
            raise refused
        check_run_dir(made, made.graph.paths)
        if forecast.plan.to_do.steps:
            check_budget(forecast.budget)
    except LrpsError as error:
        typer.echo(f"note: `lrps run` would refuse this: {error}", err=True)


def _print(made: Plan, forecast: PlanForecast) -> None:
    from lrps.costs.plan_forecast import at_speed
    from lrps.paths.known_architectures import why_not_counted
    from lrps.report.forecast_lines import forecast_lines
    from lrps.report.plan_text import print_plan

    speed = forecast.measured.speed if forecast.measured else None
    document = forecast.plan if speed is None else at_speed(made, forecast.plan, speed)
    print_plan(document, why_not_counted(made.config.model), forecast_lines(forecast), forecast.losses)


def status(
    run: Run,
    overrides: Overrides = None,
    as_json: AsJson = False,
    live: Annotated[
        bool,
        typer.Option(
            "--watch", help="Repeat every SECONDS until everything is complete; with --json one line each time."
        ),
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Interval of --watch.")] = 2.0,
) -> None:
    """Show the tree of paths: state, step, loss, speed, remaining time, cost so far and to come.

    Reads files only, on any host that sees the run directory; where jobs were submitted, Slurm is asked for their
    state. --watch exits with 0 when everything is complete or on Ctrl-C, and with 1 when a path has failed and no path
    is running.
    """
    made = plan_of(run, overrides)
    if live:
        from lrps.report.watch import watch

        raise typer.Exit(watch(made, every, as_json, jobs_shown(made)))
    from lrps.base.document import to_json
    from lrps.costs.status_document import status_document
    from lrps.plan.status import plan_status
    from lrps.report.tables.status_table import print_status

    document = status_document(made, plan_status(made), jobs_shown(made)())
    print_json(to_json(document)) if as_json else print_status(document)


def jobs_shown(plan: Plan) -> Callable[[], dict[str, SlurmJob]]:
    """Return a function that returns path -> its newest Slurm job at each call."""
    from lrps.costs.status_document import SlurmJob
    from lrps.launch.slurm.path_jobs import PathJobReader

    reader = PathJobReader(plan.layout.run_dir)
    return lambda: {
        name: SlurmJob(job.job_id, job.state, job.reason, job.trouble) for name, job in reader.read().items()
    }
