"""Tables: what terminals, Markdown, CSV and LaTeX make of the same values."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from lrps.base.numbers import amount, count
from lrps.report.table import Column, Marked, Table, text_column, wrap

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40)
PRINTED = TEXT.map(lambda text: " ".join(text.split()))


@st.composite
def tables(draw: st.DrawFn, text: st.SearchStrategy[str] = TEXT) -> Table:
    """Tables of texts, numbers and missing values."""
    cells = {"left": text, "right": st.none() | st.integers() | st.floats(allow_nan=False)}
    aligns = draw(st.lists(st.sampled_from(["left", "right"]), min_size=1, max_size=5))
    columns = tuple(
        Column(draw(text), str, align, priority=draw(st.integers(0, 3)), wraps=draw(st.booleans()))  # type: ignore[arg-type]
        for align in aligns
    )
    row = st.tuples(*(cells[align] for align in aligns))
    return Table(draw(text), columns, tuple(draw(st.lists(row, max_size=4))))


@given(tables(), st.integers(20, 120))
def test_no_line_is_wider_than_the_terminal(table: Table, width: int) -> None:
    assert all(cell_len(line) <= width for line in table.to_text(width).splitlines())


@given(tables(PRINTED), st.integers(20, 120))
def test_no_text_is_cut(table: Table, width: int) -> None:
    """Every character of the columns that are always shown is there, and of the others where none is left out."""
    text = table.to_text(width)
    shown = [index for index, column in enumerate(table.columns) if column.priority == 0 or "not shown" not in text]
    cells = [line[index] for line in (table.titles, *table.texts) for index in shown]
    assert Counter("".join("".join(cells).split())) <= Counter(text)


@given(tables(st.text(st.characters(exclude_characters="\r"), max_size=20)))
def test_csv_gives_the_values_back(table: Table) -> None:
    head, *rows = csv.reader(io.StringIO(table.to_csv(), newline=""))
    assert head == [column.header for column in table.columns]
    assert rows == [["n/a" if cell is None else str(cell) for cell in row] for row in table.rows]


@given(tables(PRINTED))
def test_markdown_gives_the_cells_back(table: Table) -> None:
    lines = table.to_markdown().split("\n")
    assert len(lines) == 2 + len(table.rows)
    for line, texts in zip([lines[0], *lines[2:]], [table.titles, *table.texts], strict=True):
        cells = re.findall(r"\| ((?:\\.|[^|\\])*) (?=\|)", line)
        assert [re.sub(r"\\(.)", r"\1", cell) for cell in cells] == list(texts)


@given(tables(st.text(max_size=20)))
def test_latex_has_no_special_character_of_a_cell(table: Table) -> None:
    lines = table.to_latex().split("\n")
    assert len(lines) == 8 + len(table.rows)
    for line in [lines[3], *lines[5 : 5 + len(table.rows)]]:
        assert line.endswith(r" \\")
        bare = re.sub(
            r"\\text\w+\{\}|\\[&%$#_{}]", "", line.removesuffix(r"\\").replace(" & ", "", len(table.columns) - 1)
        )
        assert not re.search(r"[\\~^&%$#_{}]", bare)


def test_latex_says_special_characters() -> None:
    table = Table("t", (text_column("a_b"), Column("c", unit="%")), ((r"~^\{}", 1),), notes=("50% of it",))
    assert table.to_latex().splitlines() == [
        "% 50% of it",
        r"% Needs \usepackage{booktabs}.",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"a\_b & c, \% \\",
        r"\midrule",
        r"\textasciitilde{}\textasciicircum{}\textbackslash{}\{\} & 1 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


WIDE = Table(
    "costs",
    (
        text_column("path"),
        Column("steps", count, key="total_steps"),
        Column("allocated device-hours", amount, unit="% of PTFS", priority=1),
        Column("energy", amount, unit="kWh", priority=2),
    ),
    (("main", 1200, Marked(0.25, "~"), None), ("branch", 7, 120.0, 3)),
)


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (
            80,
            [
                "path    steps  allocated device-hours, % of PTFS  energy, kWh",
                "main    1,200                              0.25~          n/a",
                "branch      7                                120            3",
            ],
        ),
        (
            45,
            [
                "                   allocated",
                "               device-hours,",
                "path    steps      % of PTFS  energy, kWh",
                "main    1,200          0.25~          n/a",
                "branch      7            120            3",
            ],
        ),
        (
            30,
            [
                "                   allocated",
                "               device-hours,",
                "path    steps      % of PTFS",
                "main    1,200          0.25~",
                "branch      7            120",
                "(not shown in 30 columns:",
                "energy, kWh)",
            ],
        ),
    ],
)
def test_a_narrow_terminal_folds_headers_then_leaves_columns_out(width: int, lines: list[str]) -> None:
    assert WIDE.to_text(width).splitlines() == lines


def test_long_text_continues_below() -> None:
    columns = (text_column("file"), text_column("why", wraps=True), Column("size", priority=1))
    table = Table("t", columns, (("step-4", "the newest checkpoint of a path that is not complete", 7),))
    assert table.to_text(40).splitlines() == [
        "file    why                         size",
        "step-4  the newest checkpoint of a     7",
        "        path that is not complete",
    ]


def test_the_raw_values_are_in_the_csv() -> None:
    assert WIDE.to_csv().splitlines() == [
        "path,total_steps,allocated device-hours,energy",
        "main,1200,0.25,n/a",
        "branch,7,120.0,3",
    ]
    assert WIDE.to_csv(missing="").splitlines()[1] == "main,1200,0.25,"


def test_a_row_has_a_cell_for_every_column() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        Table("t", (text_column("a"), text_column("b")), (("x",),))


@given(st.lists(st.text("ab.,:-(", min_size=1, max_size=9), min_size=1), st.integers(9, 40))
def test_plain_words_are_wrapped_as_rich_wraps_them(words: list[str], width: int) -> None:
    text = " ".join(words)
    expected = [line.plain.rstrip() for line in Text(text).wrap(Console(), width, overflow="fold")]
    assert wrap(text, width) == expected
