"""Line chart as an SVG drawing: axes, lines, markers and labels beside the lines."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lrps.charts.axes import Axis
from lrps.charts.svg import SLOTS, Drawing, Point, element, fitted, label, marker, polyline, spread, text_width

WIDTH, HEIGHT = 400.0, 262.0
_BOTTOM, _RIGHT = HEIGHT - 42.0, 14.0
_LONGEST_LABEL = 120.0
_LINE = 13.5
"""Height of a line of text."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom edge."""


def point_at(points: Sequence[Point], x: float) -> Point:
    """Return the point of a line at x: between its neighbours, or else the nearest end."""
    i = bisect_left([point[0] for point in points], x)
    if i == len(points) or points[i][0] == x:
        return points[min(i, len(points) - 1)]
    if i == 0:
        return points[0]
    (x0, y0), (x1, y1) = points[i - 1], points[i]
    return x, y0 + (y1 - y0) * (x - x0) / (x1 - x0)


@dataclass(frozen=True)
class Mark:
    """A marked point."""

    at: Point
    words: str
    """Text of its tooltip."""
    hollow: bool = False
    """Whether the point is drawn as a ring, instead of with the marker of its series."""


@dataclass(frozen=True)
class Series:
    """Lines and marks with a common colour, dash pattern, marker and name."""

    slot: int
    """Number of the colour, dash pattern and marker."""
    lines: tuple[tuple[Point, ...], ...] = ()
    marks: tuple[Mark, ...] = ()
    name: str = ""
    """Name beside the end of the series; empty for none."""
    thick: bool = False
    dashed: bool = True
    """Whether lines have the dash pattern of the slot; else they are solid."""

    @property
    def end(self) -> Point:
        """Last mark, or else the last point of the last line."""
        return self.marks[-1].at if self.marks else self.lines[-1][-1]


@dataclass(frozen=True)
class LineChart:
    """A chart of one or several series over two axes."""

    title: str
    description: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    note: str = ""
    """Line of text below the title."""
    guides: tuple[tuple[float, str], ...] = ()
    """(x, text) of vertical lines, which are named at the top."""
    names_at_end: bool = True
    """Whether names are in a column on the right; else each is near its last point, wherever there is room."""
    titled: bool = True
    """Whether the title is drawn; else it is for screen readers alone."""
    _named: tuple[Series, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_named", tuple(series for series in self.series if series.name))

    @property
    def _label_line(self) -> float:
        """Height of the label of the y axis, which is below title and note."""
        return (48.0 if self.note else 34.0) - (0 if self.titled else 16)

    @property
    def _top(self) -> float:
        return self._label_line + (20 if self.guides else 13)

    @cached_property
    def _left(self) -> float:
        return max(text_width(text) for _, text in self.y.ticks) + 12

    @cached_property
    def _right(self) -> float:
        if not (self._named and self.names_at_end):
            return WIDTH - _RIGHT
        return WIDTH - min(_LONGEST_LABEL, max(text_width(series.name) for series in self._named)) - 16

    def _place(self, point: Point) -> Point:
        x = self._left + self.x.share(point[0]) * (self._right - self._left)
        return x, _BOTTOM - self.y.share(point[1]) * (_BOTTOM - self._top)

    def draw(self) -> Drawing:
        """Return the drawing."""
        names = self._names_at_end() if self.names_at_end else self._names_beside()
        body = "".join((*self._frame(), *self._guides(), *self._lines(), *self._marks(), *names))
        return Drawing(self.title, self.description, WIDTH, HEIGHT, body)

    def _frame(self) -> Iterator[str]:
        if self.titled:
            yield label(4, 16, fitted(self.title, WIDTH - 8, 14), class_="title")
        if self.note:
            yield label(4, self._label_line - 16, fitted(self.note, WIDTH - 8), class_="quiet")
        yield label(4, self._label_line, self.y.label, class_="quiet")
        for value, text in self.y.ticks:
            _, y = self._place((self.x.low, value))
            yield element("path", d=f"M{self._left:.1f} {y:.1f}H{self._right:.1f}", class_="grid")
            yield label(self._left - 6, y + 3.8, text, "end", "quiet")
        yield element("path", d=f"M{self._left:.1f} {_BOTTOM}H{self._right:.1f}", class_="axis")
        for value, _ in self.x.ticks:
            x, _ = self._place((value, self.y.low))
            yield element("path", d=f"M{x:.1f} {_BOTTOM}v4", class_="axis")
        yield from self._names_along(self.x.ticks, _BOTTOM + 16)
        yield label((self._left + self._right) / 2, HEIGHT - 8, self.x.label, "middle", "quiet")

    def _guides(self) -> Iterator[str]:
        for value, _ in self.guides:
            x, _ = self._place((value, self.y.low))
            yield element("path", d=f"M{x:.1f} {self._top - 3:.1f}V{_BOTTOM}", class_="guide")
        yield from self._names_along(self.guides, self._top - 6)

    def _names_along(self, named: Sequence[tuple[float, str]], y: float) -> Iterator[str]:
        """Yield texts centred at their x. The last one is always drawn, the others only if there is room for them."""
        free = WIDTH
        for value, text in sorted(named, reverse=True):
            name = fitted(text, _LONGEST_LABEL)
            half = text_width(name) / 2
            middle = min(self._place((value, self.y.low))[0], WIDTH - half)
            if middle + half <= free:
                yield label(middle, y, name, "middle", "quiet")
                free = middle - half - 3

    def _lines(self) -> Iterator[str]:
        for series in self.series:
            dash = f" d{series.slot % SLOTS}" if series.dashed and series.slot % SLOTS else ""
            class_ = f"line{' thick' if series.thick else ''} s{series.slot % SLOTS}{dash}"
            for points in (line for line in series.lines if len(line) > 1):
                yield polyline([self._place(point) for point in points], class_)

    def _marks(self) -> Iterator[str]:
        for series in self.series:
            drawn = "".join(marker(*self._place(m.at), series.slot, m.words, m.hollow) for m in series.marks)
            if drawn:
                yield element("g", drawn, class_=f"s{series.slot % SLOTS}")

    def _names_at_end(self) -> Iterator[str]:
        ends = [self._place(series.end) for series in self._named]
        places = spread([y for _, y in ends], _LINE, self._top + 4, _BOTTOM - 4)
        for series, (x, y), place in zip(self._named, ends, places, strict=True):
            slot = f"s{series.slot % SLOTS}"
            if abs(place - y) > 3 or self._right - x > 0.2 * (self._right - self._left):
                way = f"M{x + 5:.1f} {y:.1f}L{self._right + 5:.1f} {place:.1f}"
                yield element("path", d=way, class_=f"leader {slot}")
            yield label(self._right + 8, place + 3.8, fitted(series.name, _LONGEST_LABEL), class_=slot)

    def _names_beside(self) -> Iterator[str]:
        ends = [self._place(series.end) for series in self._named]
        taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in ends]
        for series, (x, y) in zip(self._named, ends, strict=True):
            box = self._free_box(x, y, text_width(series.name), taken)
            taken.append(box)
            if not box[1] < y < box[3]:  # The name is above or below its point: connect the two.
                edge = box[3] if box[3] < y else box[1]
                way = f"M{x:.1f} {y:.1f}L{min(max(x, box[0] + 6), box[2] - 6):.1f} {edge:.1f}"
                yield element("path", d=way, class_=f"leader s{series.slot % SLOTS}")
            yield label(box[0], box[3] - 3, series.name, class_=f"s{series.slot % SLOTS} halo")

    def _free_box(self, x: float, y: float, width: float, taken: Sequence[Box]) -> Box:
        """Return the nearest box around (x, y) that is inside the chart and touches no other box.

        If there is none, the box right of the point is returned.
        """
        lefts = (x + 8, x - 8 - width, x - width / 2, x + 4, x - 4 - width)
        for away in range(8):
            for dy in (away * _LINE, -away * _LINE):
                for left in lefts if away else lefts[:2]:
                    box = (left, y + dy - 7, left + width, y + dy + 7)
                    inside = box[0] >= self._left and box[2] <= WIDTH and box[1] >= self._top - 8 and box[3] <= _BOTTOM
                    if inside and not any(_touch(box, other) for other in taken):
                        return box
        return x + 8, y - 7, x + 8 + width, y + 7


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
