"""The app of the command line: its help, and the verbs in the order of use.

A verb loads a config, calls one function and prints. Heavy imports stay inside the verbs that need them: plan, status
and report start in well under a second.
"""

from __future__ import annotations

from typing import Annotated

import typer

from lrps import __version__
from lrps.cli.config import config_app
from lrps.cli.data import data_app, rehearse
from lrps.cli.demo import demo
from lrps.cli.doctor import doctor, doctor_worker
from lrps.cli.forecast import forecast
from lrps.cli.groups import GroupedVerbs
from lrps.cli.init import SeveralTexts, init
from lrps.cli.ledger import ledger_app
from lrps.cli.models import convert_app, export, score
from lrps.cli.plan import plan, status
from lrps.cli.publish import publish
from lrps.cli.report import compare, report, sweep
from lrps.cli.rewind import rewind
from lrps.cli.run import cancel, evaluate, run, train
from lrps.cli.store import prune, pull, push, repair
from lrps.cli.wandb import wandb_app

app = typer.Typer(
    name="lrps",
    cls=GroupedVerbs,
    help="Pretraining of LLM version updates by learning-rate path switching.\n\n"
    "A config file describes data versions, a model and paradigms. `plan` shows what that costs, `run` trains what is "
    "missing, `status` shows the progress, `report` compares the paradigms. Start with: lrps demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda wanted: _print_version(wanted),
            is_eager=True,
            help="Show the version of lrps and exit.",
        ),
    ] = False,
) -> None:
    """Keep the help text of the app; `--version` is an option of `lrps` itself."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lrps {__version__}")
        raise typer.Exit


def version() -> None:
    """Show the versions of lrps and of the libraries that it uses."""
    from importlib.metadata import version as installed

    typer.echo(f"lrps {__version__}")
    for name in ("torch", "deepspeed", "transformers", "webdataset", "numpy", "wandb"):
        typer.echo(f"{name} {installed(name)}")


app.command()(demo)
app.command(cls=SeveralTexts)(init)
app.command()(plan)
app.command()(run)
app.command()(status)
app.command()(report)
app.add_typer(config_app, name="config")
app.add_typer(data_app, name="data")
app.command()(rehearse)
app.command()(export)
app.command()(publish)
app.command()(score)
app.add_typer(convert_app, name="convert")
app.command()(compare)
app.command()(sweep)
app.command()(forecast)
app.command()(doctor)
app.command()(rewind)
app.add_typer(ledger_app, name="ledger")
app.command()(prune)
app.command()(repair)
app.command()(push)
app.command()(pull)
app.command()(cancel)
app.add_typer(wandb_app, name="wandb")
app.command()(train)
app.command()(evaluate)
app.command()(version)
app.command("doctor-worker", hidden=True)(doctor_worker)
