"""Small heat map as an SVG drawing: a table with a number in every cell, and a darker shade for higher values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from lrps.charts.line import WIDTH
from lrps.charts.svg import SLOTS, Drawing, element, fitted, label, text_width

_TOP = 62.0
_FAINT, _STRONG = 0.05, 0.42
_NUMBER_WIDTH = 34.0
"""Width below which a cell has no number, only its shade."""


@dataclass(frozen=True)
class Heatmap:
    """A table of values. A cell whose row and column have the same name is framed; one without a value stays empty."""

    title: str
    description: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Mapping[tuple[str, str], float]
    """(row, column) -> value."""
    scales: Mapping[str, tuple[float, float]]
    """Column -> lowest and highest value of its shades, equal in maps that are compared. Values beyond are cut to them.

    Columns differ, because the loss of an easy text is low even if much of it is forgotten.
    """
    slot: int
    """Number of the colour."""
    digits: int = 3
    """Number of decimals in the cells; tooltips have one more."""
    column_title: str = "held-out set"
    """Meaning of a column."""

    def draw(self) -> Drawing:
        """Return the drawing."""
        left = min(110.0, max(map(text_width, self.rows))) + 12
        cell, height = (WIDTH - left - 8) / len(self.columns), max(18.0, min(34.0, 240.0 / len(self.rows)))
        body = "".join((*self._names(left, cell, height), *self._cells(left, cell, height)))
        return Drawing(self.title, self.description, WIDTH, _TOP + height * len(self.rows) + 6, body)

    def _names(self, left: float, cell: float, height: float) -> Iterator[str]:
        yield label(4, 16, fitted(self.title, WIDTH - 8, 14), class_="title")
        yield label(4, 33, f"row: released version, column: {self.column_title}", class_="quiet")
        for i, name in enumerate(self.columns):
            yield label(left + (i + 0.5) * cell, _TOP - 7, fitted(name, cell - 4), "middle", "quiet")
        for i, name in enumerate(self.rows):
            yield label(left - 7, _TOP + (i + 0.5) * height + 3.8, fitted(name, left - 8), "end", "quiet")

    def _cells(self, left: float, cell: float, height: float) -> Iterator[str]:
        for (row, column), value in self.values.items():
            x, y = left + self.columns.index(column) * cell, _TOP + self.rows.index(row) * height
            low, high = self.scales[column]
            share = min(1.0, max(0.0, (value - low) / (high - low or 1.0)))
            opacity = f"{_FAINT + (_STRONG - _FAINT) * share:.2f}"
            frame = {"x": x + 1, "y": y + 1, "width": cell - 2, "height": height - 2, "rx": 2.0}
            class_ = f"cell s{self.slot % SLOTS}"
            words = element("title", escape(f"{row} on {column}: {value:.{self.digits + 1}f}"))
            yield element("rect", words, class_=class_, fill_opacity=opacity, **frame)
            if row == column:
                yield element("rect", class_="own", **frame)
            if cell >= _NUMBER_WIDTH:
                number = f"{value:.{self.digits}f}"[: 5 if cell < 42 else None]
                yield label(x + cell / 2, y + height / 2 + 3.8, number.rstrip("."), "middle")
