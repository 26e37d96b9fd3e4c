"""Tables and sentences on standard output, no wider than the terminal, or 80 columns where there is none."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from lrps.report.table import Table, wrap


def print_table(table: Table) -> None:
    """Print a table below its title, and its notes below that."""
    console = _console()
    console.print(Text(table.title, style="bold"))
    console.print(Text(table.to_text(console.width)))
    console.print()
    for note in table.notes:
        print_sentence(note)
    if table.notes:
        console.print()


def print_sentence(text: str) -> None:
    """Print a text, broken between words where it is wider than the terminal."""
    console = _console()
    console.print(Text("\n".join(wrap(text, console.width))))


def _console() -> Console:
    """Return a console that prints lines as they are, since a path that is broken cannot be copied."""
    return Console(highlight=False, soft_wrap=True)
