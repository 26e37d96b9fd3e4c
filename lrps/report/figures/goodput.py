"""Device-hours by use: a bar per paradigm, with its goodput at the end."""

from __future__ import annotations

from collections.abc import Iterator

from lrps.base.numbers import amount, ratio
from lrps.charts.axes import number_axis
from lrps.charts.bars import SOLID, Bar, BarChart
from lrps.charts.figure import Figure
from lrps.costs.comparison import Comparison
from lrps.costs.measured_cost import MeasuredCost

USES = {
    "training": SOLID,
    "evaluating": "dots",
    "saving": "rising",
    "starting": "upright",
    "repeating after kill": "crossed",
    "repeating after failure": "falling",
    "repeating after damage": "level",
    "repeating after doubt": "rings",
    "repeating after rewind": "zigzag",
    "skipped": "plus",
    "abandoned": "checked",
    "other": "blank",
}
"""Pattern of each use of device time; useful ones first, then waste."""


def goodput(comparison: Comparison) -> Figure | None:
    """Return the bars of all paradigms, or of all paths of the only one; None before anything was measured."""
    bars = tuple(_bars(comparison))
    if not bars:
        return None
    drawing = BarChart(
        title="Device-hours by use",
        description="; ".join(_sentence(bar) for bar in bars) + ".",
        x=number_axis("device-hours, measured", [sum(bar.parts.values()) for bar in bars], from_zero=True),
        bars=bars,
        patterns=USES,
        unit="device-hours",
    ).draw()
    caption = (
        "Allocated device-hours by use, all attempts. Solid: optimizer steps that count; their share of the bar, the "
        "goodput, is the number at its end. Repeating: training again what was lost with a killed process, a failure, "
        "a damaged or doubtful checkpoint, or a rewind. Skipped: steps that passed without an update. "
        "Abandoned: trained, never saved. Other: reading data, waiting for other processes, logging."
    )
    return Figure("goodput", "Goodput", caption, (("goodput", drawing),))


def _bars(comparison: Comparison) -> Iterator[Bar]:
    paradigms = comparison.paradigms
    if len(paradigms) == 1:
        (paradigm,) = paradigms.values()
        yield from (_bar(path.plan.name, 0, path.measured) for path in paradigm.paths if path.measured.attempts)
        return
    for slot, (name, paradigm) in enumerate(paradigms.items()):
        if paradigm.measured:
            yield _bar(name, slot, paradigm.measured)


def _bar(name: str, slot: int, measured: MeasuredCost) -> Bar:
    return Bar(name, slot, measured.device_hours_by_use, ratio(measured.goodput))


def _sentence(bar: Bar) -> str:
    uses = ", ".join(f"{use} {amount(hours)}" for use, hours in bar.parts.items() if hours)
    return f"{bar.name}: goodput {bar.end}, device-hours {uses}"
