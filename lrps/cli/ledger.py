"""The verbs of `lrps ledger`: read, check and export what was really spent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrps.base.errors import USER_MISTAKE, ConfigError
from lrps.cli.options import AsJson, Overrides, Run, print_json, run_of

if TYPE_CHECKING:
    from lrps.ledger.records import Record

ledger_app = typer.Typer(
    help="Read, check and export the ledgers of a run: what was really spent.\n\n"
    "A ledger has one file per attempt at a path and one JSON record per line; each line hashes all before it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@ledger_app.command()
def verify(run: Run, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check every line of every ledger of a run, that forks point at what their parents have trained, and that
    metrics.jsonl agrees with the ledger.

    A torn last line is no fault: the writer died while writing it. Anything that was changed, removed or inserted is
    reported with file and line, and the exit code is 2. Lines cut off at the end leave no trace in the file: to notice
    them, keep the hash printed as `ends with`. `lrps data audit` finds steps that are missing in this way by the
    checkpoints, but not evaluations.
    """
    from lrps.ledger.check import check_run
    from lrps.ledger.metrics_check import metrics_faults
    from lrps.report.ledger_text import check_document, print_check

    run_dir, _ = run_of(run, overrides)
    checks = check_run(run_dir)
    metrics = metrics_faults(run_dir)
    print_json(check_document(run_dir, checks, metrics)) if as_json else print_check(run_dir, checks, metrics)
    if metrics or any(check.fault for check in checks):
        raise typer.Exit(USER_MISTAKE)


@ledger_app.command("repair")
def repair_ledger_file(run: Run, overrides: Overrides = None) -> None:
    """Cut out records that a full disk tore, and keep their bytes in files beside the ledger.

    Only what is provably torn is cut: without it the rest of the line continues the hash chain. Any other damage is
    reported and left, and the exit code is 2. Run it while nothing is trained.
    """
    from lrps.base.errors import LedgerError
    from lrps.ledger.check import ledger_dirs
    from lrps.ledger.repair import repair as repair_ledger

    run_dir, _ = run_of(run, overrides)
    damages, mended = [], 0
    for directory in ledger_dirs(run_dir).values():
        try:
            for torn in repair_ledger(directory):
                mended += 1
                cut = f"cut {len(torn.data)} bytes of a torn record, which are now in {torn.aside.name}"
                typer.echo(f"{torn.file}:{torn.line}: {cut}")
        except LedgerError as error:
            damages.append(str(error))
    if damages:
        raise LedgerError("not provably torn, left as found:\n  " + "\n  ".join(damages))
    if not mended:
        typer.echo(f"{run_dir}: nothing to repair")


@ledger_app.command("show")
def show_ledger(
    run: Run,
    path: Annotated[
        str | None, typer.Argument(metavar="[PATH]", help="Name of a path whose records are shown.")
    ] = None,
    overrides: Overrides = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Only these records: evaluation, checkpoint, failure, ...")
    ] = None,
    last: Annotated[int, typer.Option(metavar="N", min=1, help="Largest number of records.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what every path has cost; with PATH or --kind, the last records.

    unique: tokens that the lineage had never trained on; replayed: older increments, later passes; repeated: steps
    that were lost in a crash and trained again. Device-hours are wall-clock hours times processes.
    """
    from lrps.ledger.check import ledger_dirs
    from lrps.ledger.reader import read_ledger
    from lrps.ledger.records import KINDS
    from lrps.ledger.totals import total
    from lrps.report.ledger_text import last_records, print_totals, records_document, records_table, totals_document
    from lrps.report.terminal import print_table

    run_dir, _ = run_of(run, overrides)
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"--kind {kind}: a ledger has {', '.join(KINDS)}")
    if path is None and kind is None:
        directories = {name: each for name, each in ledger_dirs(run_dir).items() if name}
        totals = {name: total(read_ledger(each, heartbeats=False)) for name, each in directories.items()}
        print_json(totals_document(run_dir, totals)) if as_json else print_totals(run_dir, totals)
        return
    found = last_records((one for one in _records(run_dir, path) if kind in (None, one[2].kind)), last)
    print_json(records_document(found)) if as_json else print_table(records_table(found))


@ledger_app.command("export")
def export_ledger(
    run: Run,
    parquet: Annotated[Path, typer.Option("--parquet", metavar="FILE", help="The file to write.")],
    overrides: Overrides = None,
) -> None:
    """Write all records of a run to one Parquet file, one row per record, for SQL and data frames."""
    from lrps.ledger.parquet import write_parquet

    run_dir, _ = run_of(run, overrides)
    rows = write_parquet(_records(run_dir, None), parquet)
    typer.echo(f"{parquet}: {rows:,} records")


def _records(run_dir: Path, path: str | None) -> Iterator[tuple[str, int, Record]]:
    """Yield (path, attempt, record) of one path, or of all."""
    from lrps.ledger.check import ledger_dirs
    from lrps.ledger.reader import read_attempt
    from lrps.ledger.records import NO_LINE, attempt_files

    directories = ledger_dirs(run_dir)
    if path is not None and path not in directories:
        known = ", ".join(name for name in directories if name) or "none"
        raise ConfigError(f"{run_dir} has no ledger of a path {path}; it has {known}")
    for name, directory in directories.items():
        previous = NO_LINE
        for file in attempt_files(directory) if path in (None, name) else ():
            for record in read_attempt(file, previous):
                previous = record.sha256
                yield name, int(file.stem), record
