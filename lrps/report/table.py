"""A table as a value, and its forms for terminals, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from lrps.base.numbers import NOT_APPLICABLE

_GAP = "  "
_WRAPPED = 24
"""Width that a column of long text is counted with when the columns that fit are chosen."""
_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\r": " ", "\n": " "}
)
_MARKDOWN = str.maketrans({"\\": "\\\\", "|": "\\|", "\r": " ", "\n": " "})


class Marked(NamedTuple):
    """Cell whose value is followed by a mark for people, such as `~` for a modelled cost."""

    value: Any
    mark: str


@dataclass(frozen=True)
class Column:
    """Column of a table."""

    header: str
    """Title for people."""
    format: Callable[[Any], str] = str
    """Function that writes a value for people. It is not called for None, which is n/a."""
    align: Literal["left", "right"] = "right"
    unit: str = ""
    """Unit of the values, which follows the header after a comma."""
    priority: int = 0
    """Order in which columns are left out where a terminal is too narrow: the highest number first, 0 never."""
    key: str = ""
    """Name in CSV files; the header by default."""
    wraps: bool = False
    """Whether the cells are long text, which continues on the next line of a narrow terminal."""

    @property
    def title(self) -> str:
        """Header with the unit."""
        return f"{self.header}, {self.unit}" if self.unit else self.header


def text_column(header: str, *, priority: int = 0, key: str = "", wraps: bool = False) -> Column:
    """Return a left-aligned column of text."""
    return Column(header, align="left", priority=priority, key=key, wraps=wraps)


@dataclass(frozen=True)
class Table:
    """Table of raw values with the functions that write them for people."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    """Rows with a cell for every column: a value, None where there is none, or a value with a mark."""
    notes: tuple[str, ...] = ()
    """Sentences that explain the values."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: a row of {len(row)} cells under {len(self.columns)} columns")

    @property
    def titles(self) -> tuple[str, ...]:
        """Titles of the columns for people."""
        return tuple(column.title for column in self.columns)

    @property
    def values(self) -> tuple[tuple[Any, ...], ...]:
        """Rows of raw values, without marks."""
        return tuple(tuple(map(_value, row)) for row in self.rows)

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """Rows as people read them."""
        return tuple(tuple(map(_text, self.columns, row)) for row in self.rows)

    def to_text(self, width: int = 80, *, name_left_out: bool = True) -> str:
        """Return lines for a terminal of `width` cells, without the title and the notes.

        Where the table is wider, the columns of the highest priority number are left out; a last line names them,
        unless name_left_out is False. What is still too wide continues on the next line within its column; no text is
        cut.
        """
        texts = self.texts
        columns = [_Block(column, [row[index] for row in texts]) for index, column in enumerate(self.columns)]
        shown, left_out = _that_fit(columns, width)
        lines = _lines(shown, width)
        if left_out and name_left_out:
            lines += wrap(f"(not shown in {width} columns: {'; '.join(left_out)})", width)
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """Return a GitHub table, without the title and the notes."""
        rule = ["---" if column.align == "left" else "---:" for column in self.columns]
        head, *rows = ([text.translate(_MARKDOWN) for text in texts] for texts in (self.titles, *self.texts))
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))

    def to_csv(self, missing: str = NOT_APPLICABLE) -> str:
        """Return comma-separated raw values under the keys of the columns; `missing` where there is no value."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(column.key or column.header for column in self.columns)
        for row in self.rows:
            writer.writerow(missing if _value(cell) is None else _value(cell) for cell in row)
        return text.getvalue()

    def to_latex(self) -> str:
        """Return a tabular with the rules of booktabs, below the notes as comments."""
        alignment = "".join(column.align[0] for column in self.columns)
        lines = [*(f"% {note}" for note in self.notes), r"% Needs \usepackage{booktabs}."]
        lines += [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", _latex_row(self.titles), r"\midrule"]
        lines += [*map(_latex_row, self.texts), r"\bottomrule", r"\end{tabular}"]
        return "\n".join(lines) + "\n"


def wrap(text: str, width: int) -> list[str]:
    """Return the lines of a text in `width` cells: broken between words, and within those that are longer."""
    is_plain = text.isascii() and text.isprintable()
    if _cells(text) <= width and text.isprintable():
        return [text.rstrip()]
    words = text.split(" ")
    if is_plain and all(words) and max(map(len, words)) <= width:
        return _joined(words, width)  # As below, in a small part of the time, which tables of thousands of rows need.
    lines = Text(text).wrap(_console(), width, overflow="fold")
    return [line.plain.rstrip() for line in lines] or [""]


def _joined(words: Sequence[str], width: int) -> list[str]:
    """Return the lines of words, as many of them in each as fit."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _cells(text: str) -> int:
    """Return the width of a text on a terminal."""
    return len(text) if text.isascii() and text.isprintable() else cell_len(text)


@cache
def _console() -> Console:
    """Return the console that rich needs to wrap a text; nothing is printed on it."""
    return Console()


def _value(cell: Any) -> Any:
    return cell.value if isinstance(cell, Marked) else cell


def _text(column: Column, cell: Any) -> str:
    value = _value(cell)
    if value is None:
        return NOT_APPLICABLE
    return column.format(value) + (cell.mark if isinstance(cell, Marked) else "")


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cell.translate(_LATEX) for cell in cells) + r" \\"


class _Block:
    """Column of texts, with the widths that it may have on a terminal."""

    def __init__(self, column: Column, texts: Sequence[str]) -> None:
        self.column, self.texts = column, texts
        cells = max(map(_cells, texts), default=0)
        words = max(map(cell_len, column.title.split()), default=0)
        self.full = max(cells, cell_len(column.title))
        self.narrow = max(cells, words)
        """Width with the header on several lines."""
        self.least = min(self.narrow, _WRAPPED) if column.wraps else self.narrow


def _that_fit(columns: Sequence[_Block], width: int) -> tuple[list[_Block], list[str]]:
    """Return the columns that fit beside each other, and the titles of the others."""
    shown = list(columns)
    while sum(block.least + len(_GAP) for block in shown) - len(_GAP) > width:
        last = max(range(len(shown)), key=lambda index: (shown[index].column.priority, index))
        if shown[last].column.priority == 0:
            break
        del shown[last]
    return shown, [block.column.title for block in columns if block not in shown]


def _lines(columns: Sequence[_Block], width: int) -> list[str]:
    widths = _widths(columns, width - len(_GAP) * (len(columns) - 1))
    head = [wrap(block.column.title, cells) for block, cells in zip(columns, widths, strict=True)]
    deepest = max(map(len, head), default=0)
    lines = _beside([[""] * (deepest - len(each)) + each for each in head], columns, widths)
    for texts in zip(*(block.texts for block in columns), strict=True):
        lines += _beside([wrap(text, cells) for text, cells in zip(texts, widths, strict=True)], columns, widths)
    return lines


def _widths(columns: Sequence[_Block], available: int) -> list[int]:
    """Return a width for every column: with the whole header where there is room, or else by folding long texts."""
    widths = [block.narrow for block in columns]
    for least in ([block.least for block in columns], [2] * len(columns)):
        room = [width - smallest for width, smallest in zip(widths, least, strict=True)]
        while sum(widths) > available and max(room, default=0) > 0:
            widest = max(range(len(columns)), key=lambda index: (room[index] > 0, widths[index]))
            widths[widest], room[widest] = widths[widest] - 1, room[widest] - 1
    for index, block in enumerate(columns):
        if sum(widths) - widths[index] + block.full <= available:
            widths[index] = block.full
    return widths


def _beside(cells: Sequence[list[str]], columns: Sequence[_Block], widths: Sequence[int]) -> list[str]:
    """Return the lines of a row whose cells may have several."""
    lines = []
    for number in range(max(map(len, cells), default=0)):
        texts = [cell[number] if number < len(cell) else "" for cell in cells]
        padded = [
            (text + _spaces(text, width)) if block.column.align == "left" else (_spaces(text, width) + text)
            for text, block, width in zip(texts, columns, widths, strict=True)
        ]
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _spaces(text: str, width: int) -> str:
    return " " * (width - _cells(text))
