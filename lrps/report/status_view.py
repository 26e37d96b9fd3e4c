"""Live view of `lrps status --watch`: the tree of paths in colours, cut to the height of the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from lrps.base.numbers import NOT_APPLICABLE
from lrps.costs.status_document import StatusDocument
from lrps.report.status_lines import heldout_lines, states_text, totals_line, warning_lines
from lrps.report.tables.status_table import Row, status_table
from lrps.report.tree import tree_rows

STYLES = {
    "running": "bold cyan",
    "complete": "green",
    "trained": "blue",
    "interrupted": "yellow",
    "failed": "bold red",
    "foreign": "bold magenta",
    "planned": "dim",
}
"""Colour of each state, whose word is shown too."""
_NEEDED = ("running", "failed", "foreign", "interrupted", "trained", "planned", "complete")
"""States by need: where the terminal is too low for all paths, those of the last states are left out first."""


def status_view(document: StatusDocument, console: Console) -> RenderableType:
    """Return the whole view, no wider than the console, and no higher if that is possible."""
    title = Text(f"{document.name}: ", style="bold", no_wrap=True, overflow="ellipsis")
    title.append(document.state, style=STYLES.get(document.state, "yellow"))
    title.append(f": {document.run_dir}")
    foot = [Text(line) for line in (totals_line(document), *heldout_lines(document))]
    foot += [Text(line, style="bold yellow") for line in warning_lines(document)]
    rows = list(tree_rows(document.paths))
    lines = console.height - _height(Group(title, *foot), console)
    number = min(len(rows), max(1, lines))  # A path takes a line at least.
    while number > 1 and _height(_body(document, rows, number, console), console) > lines:
        number -= 1
    return Group(title, _body(document, rows, number, console), *foot)


def _height(view: RenderableType, console: Console) -> int:
    return len(console.render_lines(view, console.options.update(height=None)))


def _body(document: StatusDocument, rows: Sequence[Row], number: int, console: Console) -> RenderableType:
    """Return the table of the paths that are needed most, in their order, and the states of the others."""
    by_need = sorted(range(len(rows)), key=lambda index: _NEEDED.index(rows[index][1].state))
    shown = set(by_need[:number])
    table = status_table(document, [rows[index] for index in sorted(shown)], live=True)
    text = _coloured(table.to_text(console.width, name_left_out=False))
    hidden = [path for index, (_, path) in enumerate(rows) if index not in shown]
    return Group(text, Text(f"not shown: {states_text(hidden)}", style="dim")) if hidden else text


def _coloured(lines: str) -> Text:
    text = Text(lines, no_wrap=True)
    for state, style in STYLES.items():
        text.highlight_regex(rf"(?<= ){state}\b", style)
    text.highlight_regex(r"[▁-█]+", "cyan")
    text.highlight_regex(r"━+", "bold cyan")
    text.highlight_words([NOT_APPLICABLE], "dim")
    return text
