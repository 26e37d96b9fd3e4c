"""Results of the API: typed documents with their tables and drawings, which draw themselves in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lrps.base.document import to_json
from lrps.base.errors import ConfigError
from lrps.charts.svg import Drawing
from lrps.plan.plan import Plan
from lrps.report.table import Table

if TYPE_CHECKING:
    import pandas

Document = TypeVar("Document")
_STYLE = "text-align:{};padding:2px 8px;white-space:nowrap"


@dataclass(frozen=True)
class Result(Generic[Document]):
    """Result of a function of the API: a typed document, with its tables, sentences and charts for people."""

    document: Document
    """Typed values; `to_json()` gives what the command prints with --json."""
    tables: tuple[Table, ...] = field(repr=False)
    """The same as tables; the first one is that of `to_frame()`."""
    drawings: tuple[Drawing, ...] = field(default=(), repr=False)
    """Charts as SVG."""
    lines: tuple[str, ...] = field(default=(), repr=False)
    """Sentences about the values."""

    def to_json(self) -> Any:
        """Return the document as JSON values."""
        return to_json(self.document)

    def to_frame(self, number: int = 0) -> pandas.DataFrame:
        """Return a table as a pandas DataFrame of raw values, None where there is no value.

        number: which table, from 0. Raises ConfigError where pandas is not installed.
        """
        return frame_of(self.tables[number])

    def __str__(self) -> str:
        """Return the tables and sentences as the command line prints them."""
        shown = (f"{table.title}\n{table.to_text(120)}" for table in self.tables)
        return "\n\n".join((*shown, *(["\n".join(self.lines)] if self.lines else [])))

    def _repr_html_(self) -> str:
        """Return the tables, sentences and drawings for a notebook."""
        parts = [*map(html_table, self.tables), *(f"<p>{escape(line)}</p>" for line in self.lines)]
        return "\n".join(("<div>", *parts, *(drawing.standalone() for drawing in self.drawings), "</div>"))


@dataclass(frozen=True)
class PlanResult(Result[Document]):
    """Result of `compile_plan`: the paths, steps and costs that a config compiles to."""

    plan: Plan = field(repr=False, kw_only=True)
    """The plan itself, whose `graph` has every path with its schedule and rows. Other functions take it as a run."""


def frame_of(table: Table) -> pandas.DataFrame:
    """Return a table as a pandas DataFrame of raw values. Raises ConfigError where pandas is not installed."""
    try:
        import pandas
    except ImportError:
        raise ConfigError("to_frame() needs pandas: pip install pandas; `to_json()` and `tables` do not") from None
    names = [column.key or column.title for column in table.columns]
    return pandas.DataFrame([dict(zip(names, row, strict=True)) for row in table.values], columns=names)


def html_table(table: Table) -> str:
    """Return a table as HTML without a style sheet."""
    head = "".join(f"<th>{escape(title)}</th>" for title in table.titles)
    rows = (
        "".join(
            f'<td style="{_STYLE.format(column.align)}">{escape(text)}</td>'
            for column, text in zip(table.columns, texts, strict=True)
        )
        for texts in table.texts
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    return f"<table><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead>{body}</table>{notes}"


def drawings_of(figures: Sequence[Any]) -> tuple[Drawing, ...]:
    """Return the drawings of figures of the report, without those that have no value (None)."""
    return tuple(drawing for figure in figures if figure is not None for _, drawing in figure.panels)
