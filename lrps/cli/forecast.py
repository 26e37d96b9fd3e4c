"""The verb `forecast`: the loss and the cost of a version before its branch is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrps.base.errors import ConfigError
from lrps.cli.options import AsJson, Overrides, PriceOption, Run, plan_of, print_json, write_files


def forecast(
    run: Run,
    version: Annotated[
        str | None, typer.Option("--version", metavar="NAME", help="Version to forecast; by default the next one.")
    ] = None,
    alpha: Annotated[
        str | None,
        typer.Option(
            "--alpha", metavar="A,A", help="Lengths of its branch, in the unit of the config: a list or from:to:by."
        ),
    ] = None,
    spend: Annotated[
        str | None,
        typer.Option(
            "--spend",
            metavar="BUDGET",
            help="Choose the lengths of all versions to come for a budget of the whole paradigm: 0.52ptfs (of the "
            "steps of PTFS), 800h (device-hours), 9000steps, or an amount of money.",
        ),
    ] = None,
    paradigm: Annotated[
        str | None, typer.Option("--paradigm", metavar="NAME", help="Path switching to forecast, if there are several.")
    ] = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Also write a chart (SVG) for each held-out set there.")
    ] = None,
    price: PriceOption = None,
    as_json: AsJson = False,
) -> None:
    """Forecast the loss of the next version, over the length and shape of its branch, before anybody pays for it.

    From the main path's held-out losses and the branches that are finished. A version that is trained already is
    forecast as it was possible when its branch began, with the measured loss beside it. Where the law is known not to
    hold, the forecast is refused with the reason. Nothing is trained.

    lrps forecast configs/small.yaml --version v4 --alpha 0.2:0.8:0.2

    lrps forecast configs/small.yaml --spend 0.52ptfs
    """
    from lrps.base.document import to_json
    from lrps.costs.comparison import make_comparison
    from lrps.costs.forecasts.spend import spend_choice
    from lrps.costs.forecasts.version_forecast import outlook, version_forecast
    from lrps.costs.sweep import parse_values
    from lrps.report.figures.forecast_chart import forecast_charts
    from lrps.report.forecast_text import forecast_remarks, forecast_table, spend_remarks, spend_table
    from lrps.report.terminal import print_sentence, print_table
    from lrps.store.checkpoints import complete_checkpoints

    if spend is not None and (version is not None or alpha is not None):
        raise ConfigError("--spend chooses the lengths of all versions to come; leave out --version and --alpha")
    made = plan_of(run, overrides, price)
    comparison = make_comparison(made)
    look = outlook(made, comparison.heldout_curves, comparison.pace, comparison.price, paradigm)
    if spend is not None:
        layout = made.layout.path(look.switching.main.name)
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
        return
    document = version_forecast(look, version, None if alpha is None else parse_values(alpha, "--alpha"))
    written = write_files(out, forecast_charts(document, look.curve)) if out else []
    if as_json:
        print_json(to_json(document))
        return
    print_table(forecast_table(document))
    for line in forecast_remarks(document):
        print_sentence(line)
    for file in written:
        typer.echo(file)
