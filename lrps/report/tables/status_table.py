"""Table of the paths of a status as a tree, for `lrps status` and its live view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lrps.base.numbers import amount, count, device_time, duration, loss, ratio, short
from lrps.costs.status_document import PathProgress, StatusDocument
from lrps.report.status_lines import (
    done_share,
    heldout_lines,
    initial_lines,
    job_text,
    mfu_text,
    totals_line,
    warning_lines,
)
from lrps.report.table import Column, Table, text_column
from lrps.report.terminal import print_sentence, print_table
from lrps.report.tree import tree_rows

Row = tuple[str, PathProgress]
"""Name of a path behind the lines of the tree, and the path."""
BAR_WIDTH = 20
_BLOCKS = "▁▂▃▄▅▆▇█"

_Cell = Callable[[PathProgress], Any]


def print_status(document: StatusDocument) -> None:
    """Print the tree of paths, the totals and the warnings."""
    print_table(status_table(document, list(tree_rows(document.paths))))
    for line in (totals_line(document), *initial_lines(document), *heldout_lines(document), *warning_lines(document)):
        print_sentence(line)


def status_table(document: StatusDocument, rows: Sequence[Row], *, live: bool = False) -> Table:
    """Return paths of a status as a table. live: with a bar and a curve of the loss for a running path."""
    columns = [*_columns(document), *(_LIVE if live else _AT_REST)]
    return Table(
        f"{document.name}: {document.run_dir}: {document.state}",
        (text_column("path"), *(column for column, _ in columns)),
        tuple((drawn, *(cell(path) for _, cell in columns)) for drawn, path in rows),
    )


def _columns(document: StatusDocument) -> Iterable[tuple[Column, _Cell]]:
    if any(path.slurm for path in document.paths):
        yield text_column("job", priority=2, wraps=True), job_text
    yield text_column("state"), lambda path: path.state
    yield Column("step"), lambda path: f"{count(path.live_step)}/{count(path.stop_step)}"
    yield Column("loss", loss), lambda path: path.loss
    yield Column("ETA", duration, priority=1), lambda path: path.eta_seconds
    yield Column("tokens/s", short, priority=2), lambda path: path.tokens_per_second
    yield Column("MFU", mfu_text, priority=3), lambda path: path.mfu
    yield Column("device time", device_time, priority=1), lambda path: _spent(path, path.measured.device_hours)
    yield Column("to come", device_time, priority=3), lambda path: path.to_come.device_hours
    if document.currency:
        yield Column(document.currency, amount, priority=4), lambda path: _spent(path, path.measured.money)
        yield Column(f"{document.currency} to come", amount, priority=5), lambda path: path.to_come.money


_AT_REST: Sequence[tuple[Column, _Cell]] = (
    (Column("done", ratio, priority=1), lambda path: done_share(path)),
    (Column("from", count, priority=5), lambda path: path.start_step),
    (Column("saved", count, priority=3), lambda path: path.step),
)
_LIVE: Sequence[tuple[Column, _Cell]] = (
    (text_column("done", priority=1), lambda path: _bar(path)),
    (text_column("curve", priority=4), lambda path: sparkline(path.recent_losses)),
)


def _spent(path: PathProgress, cost: float | None) -> float | None:
    return cost if path.measured.attempts else None


def _bar(path: PathProgress) -> str:
    """Return the share of a path that is done: a bar while it is running, else a percentage."""
    share = done_share(path)
    if path.state != "running":
        return ratio(share)
    whole = round(share * BAR_WIDTH)
    return "━" * whole + "─" * (BAR_WIDTH - whole)


def sparkline(values: Sequence[float]) -> str:
    """Return a small curve with one character for each value, from the smallest value to the largest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((value - low) * scale)] for value in values)
