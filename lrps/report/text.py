"""States and comparisons as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from lrps.base.numbers import NOT_APPLICABLE, amount, count, loss, ratio, short
from lrps.costs.rehearsal_cost import rehearsal_lines
from lrps.report import forgetting_table, task_table
from lrps.report.status_lines import done_share, duration, job_text, mfu_text, totals_line, warning_lines
from lrps.report.summary import ONE_RUN, headline, still_to_do
from lrps.report.tags import RATIOS, legend, tagged, whole_cost
from lrps.report.tree import tree_rows
from lrps.report.versions_table import EXPLAINED, TITLE
from lrps.report.versions_table import shown as versions_shown


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> None:
    """Print a table; the first `left` columns are text, the others numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = _console()
    console.print(title, style="bold", markup=False)  # not the table's own title, which wraps at the table's width
    # A terminal that is too narrow wraps a row, which loses nothing; a table cut to its width would.
    needed = console.measure(table, options=console.options.update(width=1000)).maximum
    console.width = max(console.width, needed)
    console.print(table, markup=False)
    console.print()


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def print_status(document: Mapping[str, Any]) -> None:
    """The tree of paths: where each stands, how fast it is, what it has cost and is going to; totals and warnings."""
    currency = document["currency"]
    in_slurm = any(path["slurm"] for path in document["paths"])
    columns = ["path", *(["job"] if in_slurm else []), "state", "from", "step", "of", "done", "saved", "loss"]
    columns += ["tokens/s", "MFU", "ETA", "device-hours", "to come", *((currency, "to come") if currency else ())]
    rows = (
        [drawn, *([job_text(path)] if in_slurm else []), *_status_row(path, currency)]
        for drawn, path in tree_rows(document["paths"])
    )
    print_table(f"{document['name']}: {document['run_dir']}: {document['state']}", columns, rows, left=2 + in_slurm)
    for line in (totals_line(document), *warning_lines(document)):
        _console().print(line, markup=False)


def _status_row(path: Mapping[str, Any], currency: str | None) -> list[str]:
    measured, to_come = path["measured"], path["to_come"]
    begun = measured["attempts"] > 0
    row = [path["state"], count(path["start_step"]), count(path["live_step"]), count(path["stop_step"])]
    row += [ratio(done_share(path)), count(path["step"]), loss(path["loss"]), short(path["tokens_per_second"])]
    row += [mfu_text(path["mfu"]), duration(path["eta_seconds"])]
    row += [amount(measured["device_hours"] if begun else None), amount(to_come["device_hours"])]
    return row + ([amount(measured["money"] if begun else None), amount(to_come["money"])] if currency else [])


def print_comparison(document: Mapping[str, Any]) -> None:
    """The paradigms side by side: planned, measured, what all of it costs, and the loss that it bought; then what
    versions cost, and what is still to do."""
    console = _console()
    console.print(headline(document), markup=False)
    console.print()
    currency, newest = document["currency"], document["versions"][-1]["name"]
    columns = ["paradigm", "steps", "of PTFS", "of CPT", "device-hours held"]
    columns += [f"measured {currency}"] if currency else []
    columns += ["training time, of PTFS", "held, of PTFS", "repeated steps"]
    unfinished = any(paradigm["estimate"] is not None for paradigm in document["paradigms"].values())
    if unfinished:
        columns += ["all device-hours", *([f"all {currency}"] if currency else [])]
    columns += [f"held-out loss of {newest}"]
    rows = [_comparison_row(name, p, currency, unfinished) for name, p in document["paradigms"].items()]
    print_table(f"{document['name']}: comparison", columns, rows)
    for line in (RATIOS, *rehearsal_lines(document)):
        console.print(line, markup=False)
    console.print()
    versions = [version["name"] for version in document["versions"]]
    print_table(
        "held-out loss, mean over all versions so far (bits per byte on the version's own held-out set)",
        ("paradigm", *versions),
        ((name, *map(_release_cell, p["releases"])) for name, p in document["paradigms"].items()),
    )
    print_table(TITLE, *versions_shown(document), left=2)
    console.print(EXPLAINED, markup=False)
    if unfinished:
        console.print(legend(document["cost_model"]), markup=False)
    for table in (forgetting_table, task_table):
        head, rows = table.shown(document)
        if rows:
            print_table(table.TITLE, head, rows, left=3)
            console.print(table.EXPLAINED, markup=False)
            console.print()
    if any(p["releases"][-1]["seen_loss"] is not None for p in document["paradigms"].values()):
        console.print(ONE_RUN, markup=False)
    console.print(still_to_do(document), markup=False)


def _comparison_row(name: str, paradigm: Mapping[str, Any], currency: str | None, unfinished: bool) -> list[str]:
    measured = paradigm["measured"] or {}
    so_far = "" if paradigm["complete"] or not measured else " so far"
    row = [name, count(paradigm["total_steps"]), ratio(paradigm["ratio_to_ptfs"]), ratio(paradigm["ratio_to_cpt"])]
    row += [amount(measured.get("device_hours")) + so_far]
    row += [amount(measured.get("money")) + so_far] if currency else []
    row += [ratio(paradigm["measured_ratio_to_ptfs"]), ratio(paradigm["measured_held_ratio_to_ptfs"])]
    row += [count(measured.get("repeated_steps"))]
    if unfinished:
        whole = whole_cost(paradigm)
        keys = ("device_hours", "money") if currency else ("device_hours",)
        row += [tagged(amount(whole[key]), whole["basis"]) for key in keys]
    return [*row, loss(paradigm["releases"][-1]["seen_loss"])]


def _release_cell(release: Mapping[str, Any]) -> str:
    own = release["heldout"].get(release["version"])
    if release["seen_loss"] is None and own is None:
        return NOT_APPLICABLE
    return f"{loss(release['seen_loss'])} ({loss(own['bits_per_byte'] if own else None)})"
