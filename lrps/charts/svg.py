"""Elements of small SVG drawings, text that fits a width, and the style that all drawings share.

A drawing works inline in a page and as a file of its own, in light and dark mode, and in black and white, because each
series has a colour, a dash pattern and a marker. Imports nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

SLOTS = 8
"""Number of series that look different; the ninth looks like the first."""
_LIGHT = ("#0b5cad", "#b8430b", "#177245", "#7a3fc0", "#0c7082", "#8a6100", "#b3206b", "#50585f")
_DARK = ("#74b3ff", "#ff9f6b", "#62d193", "#c7a5ff", "#5fd0e3", "#e6c25c", "#ff93c4", "#b4bcc4")
_DASHES = ("none", "7 3", "2 2.5", "9 3 2 3", "12 4", "5 2 1 2 1 2", "4 4", "1 3")


def _slots(colours: Sequence[str], within: str = ".chart ") -> str:
    return "".join(f"{within}.s{slot}{{color:{colour}}}" for slot, colour in enumerate(colours))


def slot_style() -> str:
    """Return the style sheet that gives elements outside of drawings the colours of the series."""
    return f"{_slots(_LIGHT, '')}@media screen and (prefers-color-scheme:dark){{{_slots(_DARK, '')}}}"


STYLE = (
    ".chart{font:11px system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',Arial,sans-serif;color:#1b1f24}"
    ".chart text{fill:currentColor}.chart .title{font-size:13px;font-weight:600}.chart .quiet{color:#57606a}"
    ".chart .halo{paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}"
    ".chart .grid{stroke:#e3e7eb}.chart .axis{stroke:#7d8590}.chart .guide{stroke:#afb8c1;stroke-dasharray:1.5 2.5}"
    ".chart .line{fill:none;stroke:currentColor;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}"
    ".chart .thick{stroke-width:3.2}.chart .mark{fill:currentColor;stroke:currentColor;stroke-width:1.4}"
    ".chart .hollow,.chart .paper{fill:#fff}.chart .paper{stroke:none}.chart .leader{stroke:currentColor;opacity:.5}"
    ".chart .track{fill:none;stroke:currentColor;stroke-width:3}.chart .track.thick{stroke-width:5.5}"
    ".chart .to-do{stroke-width:1.4;stroke-dasharray:4 2.5}.chart .part{stroke:currentColor;stroke-width:.8}"
    ".chart .solid{fill:currentColor}.chart .ink{fill:currentColor;stroke:none}"
    ".chart .stripe{fill:none;stroke:currentColor}.chart .group{font-size:12px;font-weight:600}"
    ".chart .cell{fill:currentColor;stroke:none}.chart .own{fill:none;stroke:#1b1f24;stroke-width:1.6}"
    + "".join(f".chart .d{slot}{{stroke-dasharray:{dash}}}" for slot, dash in enumerate(_DASHES) if slot)
    + _slots(_LIGHT)
    + "@media screen and (prefers-color-scheme:dark){.chart{color:#e6edf3}.chart .quiet{color:#9aa4af}"
    ".chart .grid{stroke:#2b323a}.chart .guide{stroke:#4a525c}.chart .own{stroke:#e6edf3}"
    ".chart .hollow,.chart .paper{fill:#12161b}.chart .halo{stroke:#12161b}" + _slots(_DARK) + "}"
)
"""Style sheet for pages that show drawings inline; a drawing in a file of its own contains it."""


@dataclass(frozen=True)
class Drawing:
    """A finished drawing."""

    title: str
    """Name of the drawing for screen readers."""
    description: str
    """Content of the drawing in words, for screen readers."""
    width: float
    height: float
    body: str
    """SVG elements of the drawing, as text."""

    def _svg(self, attributes: str, before: str = "") -> str:
        box = f'viewBox="0 0 {number(self.width)} {number(self.height)}"'
        words = element("title", escape(self.title)) + element("desc", escape(self.description))
        return f'<svg class="chart" role="img" {attributes}{box}>{words}{before}{self.body}</svg>'

    def inline(self) -> str:
        """Return the drawing as an element of a page that has STYLE."""
        return self._svg("")

    def standalone(self) -> str:
        """Return the drawing as the text of a file of its own, with its style and background."""
        size = f'width="{number(self.width)}" height="{number(self.height)}"'
        paper = element("rect", class_="paper", width=self.width, height=self.height)
        return self._svg(f'xmlns="http://www.w3.org/2000/svg" {size} ', element("style", STYLE) + paper) + "\n"


def number(value: float) -> str:
    """Return a coordinate as text, rounded to a tenth of a pixel."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def element(name: str, content: str = "", /, **attributes: float | str) -> str:
    """Return an element as text.

    content: markup inside the element; text must be escaped before. attributes: `class_` is written as class, and every
    other underscore as a hyphen; texts are escaped.
    """
    texts = (
        f' {key.rstrip("_").replace("_", "-")}="{escape(value) if isinstance(value, str) else number(value)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{''.join(texts)}>{content}</{name}>" if content else f"<{name}{''.join(texts)}/>"


def label(x: float, y: float, words: str, anchor: str = "start", class_: str = "") -> str:
    """Return a line of text as an element. anchor: start | middle | end, the place of x in the line."""
    attributes: dict[str, float | str] = {"x": x, "y": y}
    if anchor != "start":
        attributes["text_anchor"] = anchor
    if class_:
        attributes["class_"] = class_
    return element("text", escape(words), **attributes)


def text_width(words: str, size: float = 11) -> float:
    """Return an upper bound of the width of a line of text in common fonts; the browser decides which font it is."""
    ems = sum(0.36 if c in "iljtfI.,:;|!'()[] -" else 0.95 if c in "mwMW%@" else 0.66 for c in words)
    return ems * size


def fitted(words: str, width: float, size: float = 11, end: int = 0) -> str:
    """Return a text that fits a width, shortened with an ellipsis if necessary; its last `end` letters stay."""
    if text_width(words, size) <= width:
        return words
    words, tail = words[: len(words) - end], words[len(words) - end :]
    while words and text_width(f"{words}…{tail}", size) > width:
        words = words[:-1]
    return f"{words}…{tail}"


def polyline(points: Sequence[Point], class_: str) -> str:
    """Return a line as an element, without points that make no visible difference."""
    kept = simplified(points)
    return element("path", d="M" + "L".join(f"{number(x)} {number(y)}" for x, y in kept), class_=class_)


def simplified(points: Sequence[Point], tolerance: float = 0.06) -> list[Point]:
    """Return the points of a line without those that are within `tolerance` of it (Douglas and Peucker 1973)."""
    if len(points) < 3:
        return list(points)
    (ax, ay), (bx, by) = points[0], points[-1]
    length = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5 or 1.0
    distances = [abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / length for x, y in points[1:-1]]
    farthest = max(range(len(distances)), key=distances.__getitem__) + 1
    if distances[farthest - 1] <= tolerance:
        return [points[0], points[-1]]
    return simplified(points[: farthest + 1], tolerance)[:-1] + simplified(points[farthest:], tolerance)


def marker(x: float, y: float, slot: int, words: str, hollow: bool = False) -> str:
    """Return a marked point as an element with a tooltip. A hollow one is a ring, else the slot decides its shape."""
    class_ = f"mark {'hollow' if hollow else ''}".strip()
    if hollow or slot % SLOTS == 0:
        return element("circle", element("title", escape(words)), cx=x, cy=y, r=3.6, class_=class_)
    shape = _SHAPES[slot % SLOTS - 1]
    corners = "L".join(f"{number(x + dx)} {number(y + dy)}" for dx, dy in shape)
    return element("path", element("title", escape(words)), d=f"M{corners}Z", class_=class_)


def _turned(corners: Iterable[Point]) -> list[Point]:
    return [(x, -y) for x, y in corners]


_TRIANGLE = [(-4.2, 3.4), (4.2, 3.4), (0.0, -4.4)]
_SHAPES: tuple[Sequence[Point], ...] = (
    [(-3.3, -3.3), (3.3, -3.3), (3.3, 3.3), (-3.3, 3.3)],
    _TRIANGLE,
    [(0, -4.8), (4.8, 0), (0, 4.8), (-4.8, 0)],
    _turned(_TRIANGLE),
    [(-4.2, -1.8), (-1.8, -4.2), (1.8, -4.2), (4.2, -1.8), (4.2, 1.8), (1.8, 4.2), (-1.8, 4.2), (-4.2, 1.8)],
    [(0, -4.6), (4.4, -1.4), (2.7, 3.7), (-2.7, 3.7), (-4.4, -1.4)],
    [(-4, -2.2), (4, -2.2), (4, 2.2), (-4, 2.2)],
)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places for labels near the wanted ones, in the same order, at least `gap` apart, between low and high.

    The gap shrinks if there is no room for all labels.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    gap = min(gap, (high - low) / max(1, len(order) - 1))
    places = [min(max(wanted[i], low), high) for i in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    for i, limit in zip(reversed(range(len(places))), (high - n * gap for n in range(len(places))), strict=True):
        places[i] = min(places[i], limit)
    return [place for _, place in sorted(zip(order, places, strict=True))]
