"""Chart of intervals as an SVG drawing: a row for each value, with a mark, the line of its uncertainty and a text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from lrps.charts.axes import Axis
from lrps.charts.line import WIDTH
from lrps.charts.svg import SLOTS, Drawing, element, fitted, label, marker, number, text_width

_ROW = 19.0
_TOP = 34.0
_LONGEST_NAME = 150.0
_CAP = 6.0
"""Height of the ends of a line above its middle: more than that of a mark, behind which a short line would vanish."""


@dataclass(frozen=True)
class Interval:
    """Value with its uncertainty."""

    name: str
    slot: int
    """Number of the colour and the marker."""
    value: float
    half_width: float | None
    """Distance from the value to each end of its line; None for no line."""
    text: str
    """Value in words, behind its row."""


@dataclass(frozen=True)
class IntervalChart:
    """Chart of intervals from the top down, over an axis with a strong line at 0 where that has a tick."""

    title: str
    description: str
    x: Axis
    rows: tuple[Interval, ...]

    def draw(self) -> Drawing:
        """Return the drawing."""
        body = "".join((*self._frame(), *self._rows()))
        return Drawing(self.title, self.description, WIDTH, self._bottom + 40, body)

    @cached_property
    def _left(self) -> float:
        return min(_LONGEST_NAME, max(text_width(row.name) for row in self.rows)) + 18

    @cached_property
    def _right(self) -> float:
        return WIDTH - max(text_width(row.text) for row in self.rows) - 14

    @cached_property
    def _bottom(self) -> float:
        return _TOP + _ROW * len(self.rows)

    def _x(self, value: float) -> float:
        return self._left + self.x.share(value) * (self._right - self._left)

    def _frame(self) -> Iterator[str]:
        yield label(4, 16, fitted(self.title, WIDTH - 8, 14), class_="title")
        for value, text in self.x.ticks:
            x, class_ = self._x(value), "axis" if value == 0 else "grid"
            yield element("path", d=f"M{number(x)} {number(_TOP - 4)}V{number(self._bottom)}", class_=class_)
            yield label(x, self._bottom + 15, text, "middle", "quiet")
        yield element("path", d=f"M{number(self._left)} {number(self._bottom)}H{number(self._right)}", class_="axis")
        yield label((self._left + self._right) / 2, self._bottom + 33, self.x.label, "middle", "quiet")

    def _rows(self) -> Iterator[str]:
        for i, row in enumerate(self.rows):
            y = _TOP + _ROW * (i + 0.5)
            yield label(self._left - 12, y + 3.8, fitted(row.name, self._left - 16), "end")
            yield element("g", self._line(row, y) + self._mark(row, y), class_=f"s{row.slot % SLOTS}")
            yield label(WIDTH - 4, y + 3.8, row.text, "end")

    def _line(self, row: Interval, y: float) -> str:
        if row.half_width is None:
            return ""
        low, high = (number(self._x(row.value + end)) for end in (-row.half_width, row.half_width))
        caps = "".join(f"M{end} {number(y - _CAP)}v{number(2 * _CAP)}" for end in (low, high))
        return element("path", d=f"M{low} {number(y)}H{high}{caps}", class_="line")

    def _mark(self, row: Interval, y: float) -> str:
        return marker(self._x(row.value), y, row.slot, f"{row.name}: {row.text}")
