"""Where the device time went: a bar a paradigm, its share that trained (goodput) at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lrps.base.numbers import amount, ratio
from lrps.charts.axes import number_axis
from lrps.charts.bars import SOLID, Bar, Bars
from lrps.charts.figure import Document, Figure, slotted

USES = {
    "training": SOLID,
    "evaluating": "dots",
    "saving": "rising",
    "starting": "upright",
    "repeating after kill": "crossed",
    "repeating after failure": "falling",
    "repeating after damage": "level",
    "abandoned": "checked",
    "other": "blank",
}
"""Uses of device time -> pattern; useful ones first, then waste."""


def goodput(document: Document) -> Figure | None:
    """None before anything was measured. With a single paradigm a bar is a path."""
    bars = tuple(_bars(document))
    if not bars:
        return None
    drawing = Bars(
        title="Device-hours by use",
        description="; ".join(_sentence(bar) for bar in bars) + ".",
        x=number_axis("device-hours, measured", [sum(bar.parts.values()) for bar in bars], from_zero=True),
        bars=bars,
        patterns=USES,
        unit="device-hours",
    ).draw()
    caption = (
        "What the devices were held for, all attempts. Solid: optimizer steps that count; its share of the bar, the "
        "goodput, stands at the end. Repeating: training again what was lost with a killed process, a failure or a "
        "damaged checkpoint. Abandoned: trained, never saved. Other: reading, waiting for other processes, logging."
    )
    return Figure("goodput", "Goodput", caption, (("goodput", drawing),))


def _bars(document: Document) -> Iterator[Bar]:
    paradigms = document["paradigms"]
    if len(paradigms) == 1:
        (paradigm,) = paradigms.values()
        yield from (
            _bar(path["name"], 0, path["measured"]) for path in paradigm["paths"] if path["measured"]["attempts"]
        )
        return
    for slot, name, paradigm in slotted(document):
        if paradigm["measured"]:
            yield _bar(name, slot, paradigm["measured"])


def _bar(name: str, slot: int, measured: Mapping[str, Any]) -> Bar:
    return Bar(name, slot, measured["device_hours_by_use"], ratio(measured["goodput"]))


def _sentence(bar: Bar) -> str:
    uses = ", ".join(f"{use} {amount(hours)}" for use, hours in bar.parts.items() if hours)
    return f"{bar.name}: goodput {bar.end}, device-hours {uses}"
