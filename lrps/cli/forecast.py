"""The verb `forecast`: the loss and the cost of a version before its branch is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrps.base.errors import ConfigError
from lrps.cli.completion import complete_paradigm, complete_version
from lrps.cli.options import AsJson, Overrides, PriceOption, Run, plan_of, print_json, write_files

if TYPE_CHECKING:
    from lrps.costs.forecasts.version_forecast import Outlook, VersionForecast

Version = Annotated[
    str | None,
    typer.Option(
        "--version",
        metavar="NAME",
        help="Version to forecast; by default the next one.",
        autocompletion=complete_version,
    ),
]
Alpha = Annotated[
    str | None,
    typer.Option(
        "--alpha", metavar="A,A", help="Lengths of its branch, in the unit of the config: list or from:to:by."
    ),
]
Spend = Annotated[
    str | None,
    typer.Option(
        "--spend",
        metavar="BUDGET",
        help="Choose the lengths of all versions to come for a budget of the whole paradigm: 0.52ptfs (of the steps of "
        "PTFS), 800h (device-hours), 9000steps, or an amount of money.",
    ),
]
NamedParadigm = Annotated[
    str | None,
    typer.Option(
        "--paradigm",
        metavar="NAME",
        help="Path switching to forecast, if there are several.",
        autocompletion=complete_paradigm,
    ),
]
Charts = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Also write charts (SVG) there: loss over lengths, and each held-out set.",
    ),
]
Record = Annotated[
    bool,
    typer.Option(
        "--record", help="Also write the forecast of the config's branch into the run's ledger, before it is trained."
    ),
]


def forecast(
    run: Run,
    version: Version = None,
    alpha: Alpha = None,
    spend: Spend = None,
    paradigm: NamedParadigm = None,
    overrides: Overrides = None,
    out: Charts = None,
    price: PriceOption = None,
    record: Record = False,
    as_json: AsJson = False,
) -> None:
    """Forecast the loss of the next version, over the length and shape of its branch, before anybody pays for it.

    From the main path's held-out losses and the branches that are finished. A version that is trained already is
    forecast from what was known when its branch began, with the measured loss beside it. Where the law is known not to
    hold, the forecast is refused with the reason. Nothing is trained, and only --record writes anything: the run itself
    records the forecast of every branch when the branch starts.

    lrps forecast configs/small.yaml --version v4 --alpha 0.2:0.8:0.2

    lrps forecast configs/small.yaml --spend 0.52ptfs
    """
    from lrps.api.comparing import outlook_of
    from lrps.costs.forecasts.standing import record_on_request
    from lrps.costs.forecasts.version_forecast import version_forecast
    from lrps.costs.sweep import parse_values

    if spend is not None and (version is not None or alpha is not None or out is not None or record):
        others = "--version, --alpha, --out and --record"
        raise ConfigError(f"--spend chooses the lengths of all versions to come; leave out {others}")
    look = outlook_of(plan_of(run, overrides, price), paradigm)
    if spend is not None:
        _choose_lengths(look, spend, as_json)
        return
    alphas = None if alpha is None else parse_values(alpha, "--alpha")
    document = replace(version_forecast(look, version, alphas), track_record=look.record)
    if record:
        record_on_request(look.plan, look.switching.branches[document.version])
    _show_version(look, document, out, as_json)


def _show_version(look: Outlook, document: VersionForecast, out: Path | None, as_json: bool) -> None:
    from lrps.base.document import to_json
    from lrps.report.figures.forecast_chart import length_chart, set_charts
    from lrps.report.forecast_text import forecast_remarks, forecast_table
    from lrps.report.tables.track_record_table import track_record_table
    from lrps.report.terminal import print_sentence, print_table

    drawn = {} if out is None else length_chart(document) | set_charts(document, look.curve)
    files = {f"{name}.svg": drawing.standalone() for name, drawing in drawn.items()}
    written = [] if out is None else write_files(out, files)
    if as_json:
        print_json(to_json(document))
        return
    print_table(forecast_table(document))
    for line in forecast_remarks(document):
        print_sentence(line)
    if (known := track_record_table(document.track_record)).rows:
        print_table(known)
    for file in written:
        typer.echo(file)


def _choose_lengths(look: Outlook, spend: str, as_json: bool) -> None:
    from lrps.base.document import to_json
    from lrps.costs.forecasts.spend import spend_choice
    from lrps.report.forecast_text import spend_remarks, spend_table
    from lrps.report.terminal import print_sentence, print_table
    from lrps.store.checkpoints import complete_checkpoints

    layout = look.plan.layout.path(look.switching.main.name)
    found = [*complete_checkpoints(layout.checkpoints), *complete_checkpoints(layout.branch_points)]
    saved = frozenset(checkpoint.step for checkpoint in found)
    choice = spend_choice(look, spend, saved, max(saved, default=0))
    if as_json:
        print_json(to_json(choice))
        return
    print_table(spend_table(choice))
    for line in spend_remarks(choice):
        print_sentence(line)
    typer.echo("\n".join(choice.config_lines))
