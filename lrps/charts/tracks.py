"""Tracks over an axis as an SVG drawing: a row per path, its fork a line down from the row of its parent.

It is a table as much as a chart: names are in a column on the left and releases in one on the right, so that no text
can overlap a line.
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
"""Size of a heading's letters for their width: bold ones are wider."""
_LONGEST_NAME, _LONGEST_RELEASE = 110.0, 64.0


@dataclass(frozen=True)
class Track:
    """Row of a path: trained from `start` to `done`, still to do up to `stop`. The y of marks is ignored."""

    name: str
    slot: int
    start: float
    done: float
    stop: float
    words: str
    marks: tuple[Mark, ...] = ()
    parent: str | None = None
    released: str = ""
    thick: bool = False


@dataclass(frozen=True)
class TrackGroup:
    """Rows under one heading, with a note beside it."""

    name: str
    note: str
    slot: int
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class Tracks:
    """Groups of tracks, from the top down. A fork from a parent in the same group is a line down to its row."""

    title: str
    description: str
    x: Axis
    groups: tuple[TrackGroup, ...]
    column: str
    """Title of the column at the right end of the rows."""

    def draw(self) -> Drawing:
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
        """Upper edge of every group, and the end of the last one."""
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
        """Yield every group with the height of its rows' middles, by the track's name."""
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
