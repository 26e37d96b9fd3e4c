"""The verbs that weigh paradigms against each other: runs side by side, and what-if over alpha and versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrps.base.errors import ConfigError
from lrps.cli.options import AsJson, Overrides, print_json

if TYPE_CHECKING:
    from lrps.plan.plan import Plan

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Directories of runs, also of copied ones, or config files."),
]


def compare(
    runs: Runs,
    overrides: Overrides = None,
    formats: Annotated[
        str | None, typer.Option("--format", metavar="F,F", help="Write files, too: of md, csv.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where --format writes.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Path switching beside PTFS and CPT: measured where they ran, modelled from that where they did not.

    Every number says which. Of several runs one table; ratios are within a run. A directory needs its plan.json and
    the ledgers of its paths; no shards, no checkpoints, no config.
    """
    from lrps.costs.compare import compare_runs
    from lrps.costs.document import to_json
    from lrps.report.compare_table import FORMATS, compare_table
    from lrps.report.terminal import print_table

    wanted = [] if formats is None else [name.strip() for name in formats.split(",")]
    if unknown := [name for name in wanted if name not in FORMATS]:
        raise ConfigError(f"--format: unknown format '{unknown[0]}'; known are {', '.join(FORMATS)}")
    document = compare_runs([_plan_of(run, overrides) for run in runs])
    written = _write(out, {FORMATS[name][0]: FORMATS[name][1](document) for name in wanted})
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
        str, typer.Option("--growth", metavar="G,G", help="How many times the last increment the next one is.")
    ] = "1",
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For the charts; by default <run>/report/sweep.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What path switching would cost: over alpha, the number of versions and the growth of increments.

    Plan arithmetic, nothing is trained: beside PTFS and CPT in steps, and in device-hours and money where the config
    says the hardware (`-s hardware.mfu=0.5`). Prints tables; writes SVG charts, sweep.csv and sweep.json.
    """
    from lrps.costs.document import to_json
    from lrps.costs.sweep import Grid, parse_values, sweep_costs
    from lrps.report.sweep import sweep_charts, sweep_records, sweep_remarks, sweep_tables
    from lrps.report.terminal import print_sentence, print_table

    numbers = parse_values(versions, "--versions")
    if any(number.denominator != 1 for number in numbers):
        raise ConfigError(f"--versions {versions}: whole numbers")
    grid = Grid(parse_values(alpha, "--alpha"), tuple(map(int, numbers)), parse_values(growth, "--growth"))
    made = _plan_of(config_file, overrides)
    found = sweep_costs(made, grid)
    document = to_json(found)
    drawings = {f"{name}.svg": drawing.standalone() for name, drawing in sweep_charts(found).items()}
    records = sweep_records(found).to_csv(missing="")
    files = {"sweep.csv": records, "sweep.json": json.dumps(document, indent=1) + "\n", **drawings}
    written = _write(out or made.layout.report_dir / "sweep", files)
    if as_json:
        print_json(document)
        return
    for table in sweep_tables(found):
        print_table(table)
    for line in sweep_remarks(found):
        print_sentence(line)
    typer.echo("\n".join(written))


def _plan_of(run: Path, overrides: list[str] | None) -> Plan:
    """Of a config file, or of the directory of a run by its plan.json."""
    from lrps.config.loader import load_config
    from lrps.costs.recorded_plan import recorded_plan
    from lrps.plan.plan import make_plan

    if not run.is_dir():
        return make_plan(load_config(run, overrides or ()))
    if overrides:
        raise ConfigError(f"-s changes a config file; {run} is the directory of a run: give its config")
    return recorded_plan(run)


def _write(directory: Path, files: Mapping[str, str]) -> list[str]:
    """The names of the files."""
    from lrps.base.files import atomic_write_text

    try:
        for name, text in files.items():
            directory.mkdir(parents=True, exist_ok=True)
            atomic_write_text(directory / name, text)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot write there: {error}; name another directory with --out") from None
    return [str(directory / name) for name in files]
