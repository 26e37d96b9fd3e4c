"""Timeline as an SVG drawing: rows over an axis, connected where one row forks from another.

Names are in a column on the left and releases in a column on the right, so that no text overlaps a line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import pairwise

from lrps.charts.axes import Axis
from lrps.charts.line import WIDTH, Mark
from lrps.charts.svg import SLOTS, Drawing, element, fitted, label, marker, number, text_width

_TOP = 26.0
_ROW, _HEAD = 15.0, 20.0
_HEAD_SIZE = 13.0
"""Font size that the width of headings is estimated with; it is above theirs, because bold letters are wider."""
_LONGEST_NAME, _LONGEST_RELEASE = 110.0, 64.0


@dataclass(frozen=True)
class Track:
    """One row, from `start` to `stop` on the axis."""

    name: str
    slot: int
    """Number of the colour and marker."""
    start: float
    done: float
    """End of the finished part; the rest up to `stop` is drawn dashed."""
    stop: float
    words: str
    """Text of its tooltip."""
    marks: tuple[Mark, ...] = ()
    """Marked points; their y is not used."""
    parent: str | None = None
    """Name of the row that it forks from at `start`; None for none."""
    released: str = ""
    """Text in the column on the right."""
    thick: bool = False


@dataclass(frozen=True)
class TrackGroup:
    """Rows under one heading."""

    name: str
    """Text of the heading."""
    note: str
    """Text beside the heading."""
    slot: int
    """Number of the heading's colour."""
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class Tracks:
    """Groups of rows, from the top down. A fork is drawn as a line if its parent is in the same group."""

    title: str
    description: str
    x: Axis
    groups: tuple[TrackGroup, ...]
    column: str
    """Title of the column on the right."""

    def draw(self) -> Drawing:
        """Return the drawing."""
        body = "".join((*self._frame(), *self._headings(), *self._forks(), *self._rows()))
        return Drawing(self.title, self.description, WIDTH, self._bottom + 40, body)

    @cached_property
    def _left(self) -> float:
        return min(_LONGEST_NAME, max(text_width(track.name) for group in self.groups for track in group.tracks)) + 14

    @cached_property
    def _right(self) -> float:
        released = (text_width(track.released) for group in self.groups for track in group.tracks)
        return WIDTH - min(_LONGEST_RELEASE, max(text_width(self.column), *released)) - 14

    @cached_property
    def _tops(self) -> tuple[float, ...]:
        """Upper edges of all groups, and the lower edge of the last one."""
        tops = [_TOP]
        for group in self.groups:
            tops.append(tops[-1] + _HEAD + _ROW * len(group.tracks) + 4)
        return tuple(tops)

    @property
    def _bottom(self) -> float:
        return self._tops[-1]

    def _x(self, step: float) -> float:
        return self._left + self.x.share(step) * (self._right - self._left)

    def _placed(self) -> Iterator[tuple[TrackGroup, dict[str, float]]]:
        """Yield every group with the middles of its rows: name -> y."""
        for group, top in zip(self.groups, self._tops, strict=False):
            yield group, {track.name: top + _HEAD + (i + 0.5) * _ROW for i, track in enumerate(group.tracks)}

    def _frame(self) -> Iterator[str]:
        yield label(4, 16, fitted(self.title, self._right, 14), class_="title")
        yield label(WIDTH - 4, 16, self.column, "end", "quiet")
        for value, text in self.x.ticks:
            x = self._x(value)
            for top, bottom in pairwise(self._tops):
                yield element("path", d=f"M{x:.1f} {top + _HEAD:.1f}V{bottom - 4:.1f}", class_="grid")
            yield label(x, self._bottom + 15, text, "middle", "quiet")
        yield element("path", d=f"M{self._left:.1f} {self._bottom:.1f}H{self._right:.1f}", class_="axis")
        yield label((self._left + self._right) / 2, self._bottom + 33, self.x.label, "middle", "quiet")

    def _headings(self) -> Iterator[str]:
        for group, top in zip(self.groups, self._tops, strict=False):
            name = fitted(group.name, WIDTH / 2, _HEAD_SIZE)
            yield label(4, top + 13, name, class_=f"group s{group.slot % SLOTS}")
            if group.note:
                after = 4 + text_width(name, _HEAD_SIZE) + 6
                yield label(after, top + 13, fitted(group.note, WIDTH - 4 - after), class_="quiet")

    def _forks(self) -> Iterator[str]:
        for group, rows in self._placed():
            for track in group.tracks:
                x, y = self._x(track.start), rows[track.name]
                if track.parent in rows:
                    way = f"M{x:.1f} {rows[track.parent]:.1f}V{y:.1f}"
                    yield element("path", d=way, class_=f"leader s{track.slot % SLOTS}")

    def _rows(self) -> Iterator[str]:
        for group, rows in self._placed():
            for track in group.tracks:
                y = rows[track.name]
                yield label(self._left - 8, y + 3.8, fitted(track.name, self._left - 12, end=3), "end")
                if track.released:
                    yield label(WIDTH - 4, y + 3.8, fitted(track.released, WIDTH - self._right - 12), "end")
                yield element("g", "".join(self._drawn(track, y)), class_=f"s{track.slot % SLOTS}")

    def _drawn(self, track: Track, y: float) -> Iterator[str]:
        thick = " thick" if track.thick else ""
        for start, stop, class_ in (
            (track.start, track.done, f"track{thick}"),
            (track.done, track.stop, "track to-do"),
        ):
            if stop > start:
                way = f"M{number(self._x(start))} {number(y)}H{number(self._x(stop))}"
                yield element("path", element("title", escape(track.words)), d=way, class_=class_)
        for mark in track.marks:
            yield marker(self._x(mark.at[0]), y, track.slot, mark.words, mark.hollow)
