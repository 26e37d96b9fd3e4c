"""The verb `forecast`: the loss and the cost of a version before its branch is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrps.base.errors import ConfigError
from lrps.cli.options import AsJson, Overrides, PriceOption, Run, plan_of, print_json, write_files

if TYPE_CHECKING:
    from lrps.costs.forecasts.version_forecast import Outlook

Version = Annotated[
    str | None, typer.Option("--version", metavar="NAME", help="Version to forecast; by default the next one.")
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
    str | None, typer.Option("--paradigm", metavar="NAME", help="Path switching to forecast, if there are several.")
]
Charts = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Also write charts (SVG) there: loss over lengths, and each held-out set.",
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
    as_json: AsJson = False,
) -> None:
    """Forecast the loss of the next version, over the length and shape of its branch, before anybody pays for it.

    From the main path's held-out losses and the branches that are finished. A version that is trained already is
    forecast as it was possible when its branch began, with the measured loss beside it. Where the law is known not to
    hold, the forecast is refused with the reason. Nothing is trained.

    lrps forecast configs/small.yaml --version v4 --alpha 0.2:0.8:0.2

    lrps forecast configs/small.yaml --spend 0.52ptfs
    """
    from lrps.costs.comparison import make_comparison
    from lrps.costs.forecasts.version_forecast import outlook

    if spend is not None and (version is not None or alpha is not None or out is not None):
        raise ConfigError("--spend chooses the lengths of all versions to come; leave out --version, --alpha and --out")
    made = plan_of(run, overrides, price)
    comparison = make_comparison(made)
    look = outlook(made, comparison.heldout_curves, comparison.pace, comparison.price, paradigm)
    if spend is not None:
        _choose_lengths(look, spend, as_json)
    else:
        _forecast_version(look, version, alpha, out, as_json)


def _forecast_version(look: Outlook, version: str | None, alpha: str | None, out: Path | None, as_json: bool) -> None:
    from lrps.base.document import to_json
    from lrps.costs.forecasts.version_forecast import version_forecast
    from lrps.costs.sweep import parse_values
    from lrps.report.figures.forecast_chart import length_chart, set_charts
    from lrps.report.forecast_text import forecast_remarks, forecast_table
    from lrps.report.terminal import print_sentence, print_table

    document = version_forecast(look, version, None if alpha is None else parse_values(alpha, "--alpha"))
    drawn = {} if out is None else length_chart(document) | set_charts(document, look.curve)
    files = {f"{name}.svg": drawing.standalone() for name, drawing in drawn.items()}
    written = [] if out is None else write_files(out, files)
    if as_json:
        print_json(to_json(document))
        return
    print_table(forecast_table(document))
    for line in forecast_remarks(document):
        print_sentence(line)
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
