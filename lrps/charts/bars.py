"""Stacked horizontal bars as an SVG drawing. Parts differ by pattern, also in black and white."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape

from lrps.charts.axes import Axis
from lrps.charts.line import WIDTH
from lrps.charts.svg import SLOTS, Drawing, element, fitted, label, number, text_width

SOLID = "solid"
_ROW, _BAR = 24.0, 14.0
_KEY_TOP, _KEY_LINE, _SWATCH = 34.0, 17.0, 16.0
_LONGEST_NAME = 120.0
_TILE = 6.0
_PATTERNS: Mapping[str, str] = {
    "blank": "",
    "dots": '<circle class="ink" cx="3" cy="3" r="1.1"/>',
    "rising": '<path class="stripe" d="M-1 1L1 -1M0 6L6 0M5 7L7 5"/>',
    "falling": '<path class="stripe" d="M-1 5L1 7M0 0L6 6M5 -1L7 1"/>',
    "upright": '<path class="stripe" d="M1.5 0V6M4.5 0V6"/>',
    "level": '<path class="stripe" d="M0 1.5H6M0 4.5H6"/>',
    "crossed": '<path class="stripe" d="M0 0L6 6M6 0L0 6"/>',
    "plus": '<path class="stripe" d="M3 1V5M1 3H5"/>',
    "rings": '<circle class="stripe" cx="3" cy="3" r="1.8" fill="none"/>',
    "zigzag": '<path class="stripe" fill="none" d="M0 4L1.5 1.5L3 4L4.5 1.5L6 4"/>',
    "checked": '<path class="ink" d="M0 0H3V3H0ZM3 3H6V6H3Z"/>',
}


@dataclass(frozen=True)
class Bar:
    """One bar."""

    name: str
    slot: int
    """Number of the colour."""
    parts: Mapping[str, float]
    """Kind -> length of every part."""
    end: str
    """Text at the end of the bar."""


@dataclass(frozen=True)
class BarChart:
    """A chart of stacked bars, from the top down."""

    title: str
    description: str
    x: Axis
    bars: tuple[Bar, ...]
    patterns: Mapping[str, str]
    """Kind of part -> SOLID or the name of a pattern, in the order in which the parts are drawn."""
    unit: str
    """Unit of the lengths, for tooltips."""

    def draw(self) -> Drawing:
        """Return the drawing."""
        body = "".join((*self._definitions(), *self._key(), *self._frame(), *self._rows()))
        return Drawing(self.title, self.description, WIDTH, self._bottom + 40, body)

    @cached_property
    def _kinds(self) -> tuple[str, ...]:
        """Kinds that a bar has a part of."""
        return tuple(kind for kind in self.patterns if any(bar.parts.get(kind) for bar in self.bars))

    @cached_property
    def _left(self) -> float:
        return min(_LONGEST_NAME, max(text_width(bar.name) for bar in self.bars)) + 14

    @cached_property
    def _right(self) -> float:
        return WIDTH - max(text_width(bar.end) for bar in self.bars) - 12

    @cached_property
    def _key_places(self) -> tuple[tuple[str, float, float], ...]:
        """(kind, x, y) of every entry of the key, line by line."""
        places, x, y = [], 4.0, _KEY_TOP
        for kind in self._kinds:
            width = _SWATCH + 5 + text_width(kind) + 10
            if x > 4 and x + width > WIDTH:
                x, y = 4.0, y + _KEY_LINE
            places.append((kind, x, y))
            x += width
        return tuple(places)

    @property
    def _top(self) -> float:
        return (self._key_places[-1][2] if self._key_places else _KEY_TOP) + 14

    @property
    def _bottom(self) -> float:
        return self._top + _ROW * len(self.bars) + 2

    def _x(self, value: float) -> float:
        return self._left + self.x.share(value) * (self._right - self._left)

    def _definitions(self) -> Iterator[str]:
        used = dict.fromkeys(self.patterns[kind] for kind in self._kinds)
        tiles = "".join(
            element(
                "pattern",
                element("rect", class_="paper", width=_TILE, height=_TILE) + _PATTERNS[name],
                id=f"pattern-{name}",
                width=_TILE,
                height=_TILE,
                patternUnits="userSpaceOnUse",
            )
            for name in used
            if name != SOLID
        )
        yield element("defs", tiles)

    def _part(self, kind: str, x: float, y: float, width: float, height: float, words: str = "") -> str:
        hint = element("title", escape(words)) if words else ""
        pattern = self.patterns[kind]
        fill = {} if pattern == SOLID else {"fill": f"url(#pattern-{pattern})"}
        class_ = "part solid" if pattern == SOLID else "part"
        return element("rect", hint, x=x, y=y, width=width, height=height, class_=class_, **fill)

    def _key(self) -> Iterator[str]:
        yield label(4, 16, fitted(self.title, WIDTH - 8, 14), class_="title")
        for kind, x, y in self._key_places:
            yield self._part(kind, x, y - 9, _SWATCH, 10)
            yield label(x + _SWATCH + 5, y, kind, class_="quiet")

    def _frame(self) -> Iterator[str]:
        for value, text in self.x.ticks:
            x = self._x(value)
            yield element("path", d=f"M{number(x)} {number(self._top - 4)}V{number(self._bottom)}", class_="grid")
            yield label(x, self._bottom + 15, text, "middle", "quiet")
        yield element("path", d=f"M{number(self._left)} {number(self._bottom)}H{number(self._right)}", class_="axis")
        yield label((self._left + self._right) / 2, self._bottom + 33, self.x.label, "middle", "quiet")

    def _rows(self) -> Iterator[str]:
        for i, bar in enumerate(self.bars):
            middle = self._top + (i + 0.5) * _ROW
            yield label(self._left - 8, middle + 3.8, fitted(bar.name, self._left - 12), "end")
            drawn, length = [], 0.0
            for kind in self._kinds:
                if value := bar.parts.get(kind, 0.0):
                    x, width = self._x(length), self._x(length + value) - self._x(length)
                    words = f"{bar.name}, {kind}: {value:.3g} {self.unit}"
                    drawn.append(self._part(kind, x, middle - _BAR / 2, width, _BAR, words))
                    length += value
            yield element("g", "".join(drawn), class_=f"s{bar.slot % SLOTS}")
            yield label(self._x(length) + 6, middle + 3.8, bar.end)
