"""What `lrps status --watch` shows on a terminal: the tree of paths with bars and curves, cut to what fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lrps.base.numbers import NOT_APPLICABLE, amount, count, loss, ratio, short
from lrps.report.status_lines import (
    done_share,
    duration,
    job_text,
    mfu_text,
    states_text,
    status_rows,
    totals_line,
    warning_lines,
)

STYLES = {
    "running": "bold cyan",
    "complete": "green",
    "trained": "blue",
    "interrupted": "yellow",
    "failed": "bold red",
    "foreign": "bold magenta",
    "planned": "dim",
}
"""Colours of states; the word stands there, too."""
BAR_WIDTH = 20
_NEEDED = ("running", "failed", "foreign", "interrupted", "trained", "planned", "complete")
"""Where the terminal is too low for all paths, those of the last states give way first."""
_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """A small curve, one character a value, from the smallest to the largest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((value - low) * scale)] for value in values)


class _Column(NamedTuple):
    title: str
    cell: Callable[[Mapping[str, Any]], RenderableType]
    rank: int
    """Where the terminal is too narrow for all, those of the highest rank give way first."""
    justify: Any = "right"


def _bar(path: Mapping[str, Any]) -> RenderableType:
    share = done_share(path)
    if path["state"] != "running":
        return Text(ratio(share))
    return ProgressBar(total=1.0, completed=share, width=BAR_WIDTH)


def _spent(path: Mapping[str, Any], key: str) -> RenderableType:
    measured = path["measured"]
    return Text(amount(measured[key] if measured["attempts"] else None))


def _columns(currency: str | None, in_slurm: bool) -> list[_Column]:
    columns = [
        _Column("state", lambda p: Text(p["state"], style=STYLES[p["state"]]), 0, "left"),
        _Column("done", _bar, 1, "left"),
        _Column("step", lambda p: Text(f"{count(p['live_step'])}/{count(p['stop_step'])}"), 0),
        _Column("loss", lambda p: Text(loss(p["loss"])), 0),
        _Column("", lambda p: Text(sparkline(p["recent_losses"]), style="cyan"), 5, "left"),
        _Column("tokens/s", lambda p: Text(short(p["tokens_per_second"])), 2),
        _Column("MFU", lambda p: Text(mfu_text(p["mfu"])), 3),
        _Column("ETA", lambda p: Text(duration(p["eta_seconds"])), 1),
        _Column("device-hours", lambda p: _spent(p, "device_hours"), 4),
        _Column("to come", lambda p: Text(amount(p["to_come"]["device_hours"])), 6),
    ]
    if in_slurm:
        columns.insert(0, _Column("job", lambda p: Text(job_text(p)), 2, "left"))
    if currency:
        columns.append(_Column(currency, lambda p: _spent(p, "money"), 4))
        columns.append(_Column("to come", lambda p: Text(amount(p["to_come"]["money"])), 6))
    return columns


def status_view(document: Mapping[str, Any], console: Console) -> RenderableType:
    """The whole view, no wider and no higher than the console if that can be."""
    title = Text(f"{document['name']}: ", style="bold", no_wrap=True, overflow="ellipsis")
    title.append(document["state"], style=STYLES.get(document["state"], "yellow"))
    title.append(f": {document['run_dir']}")
    foot = [Text(totals_line(document)), *(Text(line, style="bold yellow") for line in warning_lines(document))]
    rows = status_rows(document["paths"])
    used = len(console.render_lines(Group(title, *foot), console.options.update(height=None))) + 1
    shown = _that_fit(rows, console.height - used - 1)
    hidden = [row[1] for row in rows if row not in shown]
    if hidden:
        foot.insert(0, Text(f"not shown: {states_text(hidden)}", style="dim"))
    columns = _columns(document["currency"], any(path["slurm"] for path in document["paths"]))
    return Group(title, _table(shown, columns, console), *foot)


Row = tuple[str, Mapping[str, Any]]


def _that_fit(rows: list[Row], lines: int) -> list[Row]:
    """As many as fit, in their order; one line is left to say what does not."""
    if len(rows) <= lines:
        return rows
    by_need = sorted(range(len(rows)), key=lambda index: _NEEDED.index(rows[index][1]["state"]))
    return [rows[index] for index in sorted(by_need[: max(1, lines - 1)])]


def _table(rows: Sequence[Row], columns: list[_Column], console: Console) -> Table:
    """The columns that fit beside each other."""
    while True:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("path", no_wrap=True)
        for column in columns:
            table.add_column(column.title, justify=column.justify, no_wrap=True)
        for drawn, path in rows:
            table.add_row(Text(drawn), *(_dim_if_unknown(column.cell(path)) for column in columns))
        width = console.measure(table, options=console.options.update(width=1000)).maximum
        lowest = max(column.rank for column in columns)
        if width <= console.width or lowest == 0:
            return table
        columns = [column for column in columns if column.rank < lowest]


def _dim_if_unknown(cell: RenderableType) -> RenderableType:
    return Text(NOT_APPLICABLE, style="dim") if isinstance(cell, Text) and cell.plain == NOT_APPLICABLE else cell
