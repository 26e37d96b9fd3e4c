"""Tables and sentences on standard output, no wider than the terminal, or 80 columns where there is none."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.text import Text

from lrps.report.table import Table


def output_console() -> Console:
    """Return a console that never wraps lines, so that printed paths can be copied."""
    return Console(highlight=False, soft_wrap=True)


def print_table(table: Table) -> None:
    """Print a table below its title, and its notes below that."""
    console = output_console()
    print_sentence(table.title, style="bold")
    print(table.to_text(console.width), end="\n\n")
    for note in table.notes:
        print_sentence(note)
    if table.notes:
        console.print()


def print_sentence(text: str, style: str = "") -> None:
    """Print a text, broken between words where it is wider than the terminal."""
    console = output_console()
    console.print(Text("\n".join(wrap_words(text, console.width)), style=style))


def wrap_words(text: str, width: int, indent: str = "") -> list[str]:
    """Return the lines of a text, `indent` before all but the first. No word is broken: it may be a path."""
    lines: list[str] = []
    for line in text.splitlines() or [""]:
        lines += textwrap.wrap(
            line,
            width,
            initial_indent=indent if lines else "",
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=True,
        ) or [""]
    return lines
