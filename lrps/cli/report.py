"""The verbs `report`, `compare` and `sweep`: what paradigms cost, measured, modelled and planned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrps.base.errors import ConfigError
from lrps.cli.options import AsJson, Overrides, PriceOption, Run, plan_of, print_json, write_files

if TYPE_CHECKING:
    from lrps.plan.plan import Plan


def report(
    run: Run,
    overrides: Overrides = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="F,F", help="Files to write: any of html, md, csv, tex, json.")
    ] = "html,json",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Directory for the files; by default <run>/report.")
    ] = None,
    price: PriceOption = None,
    as_json: AsJson = False,
) -> None:
    """Compare the paradigms, measured beside planned: a table here, a page and files in the run directory."""
    from lrps.base.document import to_json
    from lrps.costs.comparison import make_comparison
    from lrps.report.files import known_formats

    wanted = known_formats(formats.split(","))
    made = plan_of(run, overrides, price)
    if as_json:
        print_json(to_json(make_comparison(made)))
    else:
        print_and_write_report(made, wanted, out)


def print_and_write_report(made: Plan, formats: Sequence[str], directory: Path | None = None) -> None:
    """Print the comparison of a plan's paradigms, write its files and print their names.

    directory: <run>/report by default.
    """
    from lrps.costs.comparison import make_comparison
    from lrps.report.comparison_text import print_comparison
    from lrps.report.files import write_report

    comparison = make_comparison(made)
    print_comparison(comparison)
    for file in write_report(made, comparison, formats, directory):
        typer.echo(str(file))


Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Directories of runs, also of copied ones, or config files."),
]


def compare(
    runs: Runs,
    overrides: Overrides = None,
    formats: Annotated[
        str | None, typer.Option("--format", metavar="F,F", help="Also write files: any of md, csv.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Directory for the files of --format.")] = Path(),
    price: PriceOption = None,
    as_json: AsJson = False,
) -> None:
    """Compare path switching with PTFS and CPT: measured where they ran, modelled from that where they did not.

    Every number says which of the two it is. Several runs share one table; ratios are within a run. A directory needs
    its plan.json and the ledgers of its paths, but no shards, checkpoints or config.
    """
    from lrps.base.document import to_json
    from lrps.costs.compare import compare_runs
    from lrps.report.tables.compare_table import FORMATS, compare_table
    from lrps.report.terminal import print_table

    wanted = [] if formats is None else [name.strip() for name in formats.split(",")]
    if unknown := [name for name in wanted if name not in FORMATS]:
        raise ConfigError(f"--format: unknown format '{unknown[0]}'; known are {', '.join(FORMATS)}")
    document = compare_runs([plan_of(run, overrides, price) for run in runs])
    written = write_files(out, {FORMATS[name][0]: FORMATS[name][1](document) for name in wanted})
    if as_json:
        print_json(to_json(document))
        return
    print_table(compare_table(document, for_terminal=True))
    for file in written:
        typer.echo(file)


def sweep(
    config_file: Annotated[Path, typer.Argument(metavar="CONFIG", help="A config file, or the directory of a run.")],
    alpha: Annotated[
        str, typer.Option("--alpha", metavar="A:B:BY", help="Shares of the increment: from, to, by, or a list.")
    ] = "0.2:0.8:0.1",
    versions: Annotated[str, typer.Option("--versions", metavar="N,N", help="Numbers of versions.")] = "2,4,6,8,10",
    growth: Annotated[
        str, typer.Option("--growth", metavar="G,G", help="Size of each increment as a multiple of the one before.")
    ] = "1",
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Directory for charts and files; by default <run>/report/sweep."),
    ] = None,
    price: PriceOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what path switching would cost, over alpha, the number of versions and the growth of increments.

    Computed from the plan, nothing is trained: compared with PTFS and CPT in steps, in device-hours where the config
    names the hardware (`-s hardware.mfu=0.5`), in money where there is a price as well; and the forecast loss of the
    last version where the run has held-out losses. Prints tables; writes charts (SVG), CSV and JSON.
    """
    from lrps.base.document import to_json
    from lrps.costs.forecasts.plan_losses import branch_losses, losses_outlook
    from lrps.costs.sweep import Grid, parse_values, sweep_costs
    from lrps.plan.status import begun_status
    from lrps.report.sweep import sweep_charts, sweep_records, sweep_remarks, sweep_tables
    from lrps.report.terminal import print_sentence, print_table

    numbers = parse_values(versions, "--versions")
    if any(number.denominator != 1 for number in numbers):
        raise ConfigError(f"--versions {versions}: whole numbers")
    grid = Grid(parse_values(alpha, "--alpha"), tuple(map(int, numbers)), parse_values(growth, "--growth"))
    made = plan_of(config_file, overrides, price)
    look = losses_outlook(made, begun_status(made))
    found = sweep_costs(made, grid, None if look is None else branch_losses(look))
    document = to_json(found)
    drawings = {f"{name}.svg": drawing.standalone() for name, drawing in sweep_charts(found).items()}
    tables = {"sweep.csv": sweep_records(found).to_csv(missing=""), "sweep.json": json.dumps(document, indent=1) + "\n"}
    written = write_files(out or made.layout.report_dir / "sweep", tables | drawings)
    if as_json:
        print_json(document)
        return
    for table in sweep_tables(found):
        print_table(table)
    for line in sweep_remarks(found):
        print_sentence(line)
    typer.echo("\n".join(written))
