"""Speed of every path: device time of a step on a logarithmic axis, a row for each way of training."""

from __future__ import annotations

import math

from lrps.base.amounts import bill_time, factor
from lrps.charts.svg import SLOTS, Drawing, element, fitted, label, marker
from lrps.costs.answers.pace import UNEQUAL
from lrps.costs.comparison import Comparison
from lrps.report.cost_words import spoken

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 400.0, 128.0, 390.0, 26.0, 25.0
_LETTERS = 14
_UNITS = ((3600.0, "hours"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_TICK_ROOM = 46.0


def speeds_figure(comparison: Comparison) -> Drawing | None:
    """Return the drawing; None below two measured paths."""
    pace, one = comparison.pace, comparison.pace.device_seconds_per_step
    if len(pace.paths) < 2 or one is None:
        return None
    times = [path.device_seconds_per_step for path in pace.paths.values()]
    low, high = min(min(times) / 1.3, one / 1.5), max(max(times) * 1.15, one * 2)
    bottom = _TOP + _ROW * len(comparison.paradigms)

    def place(seconds: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * math.log(seconds / low) / math.log(high / low)

    left, right = place(one / UNEQUAL), place(one * UNEQUAL)
    body = element("rect", x=left, y=19.0, width=right - left, height=bottom - 19, class_="band")
    body += element("line", x1=place(one), x2=place(one), y1=19.0, y2=bottom, class_="one-speed")
    body += label(place(one), 14, "one speed", "middle", "quiet")
    for slot, (name, paradigm) in enumerate(comparison.paradigms.items()):
        y = _TOP + _ROW * (slot + 0.5)
        body += element("line", x1=_LEFT, x2=_RIGHT, y1=y, y2=y, class_="grid")
        marks = label(0, y + 4, fitted(spoken(name), _LEFT - 6, _LETTERS), class_="b")
        for path in (each.plan.name for each in paradigm.paths):
            if path in pace.paths:
                each = pace.paths[path]
                time = bill_time(each.device_seconds_per_step / 3600)
                words = f"{path}: {time} a step, {factor(each.ratio)} times"
                marks += marker(place(each.device_seconds_per_step), y, slot, words)
        body += element("g", marks, class_=f"s{slot % SLOTS}")
    unit, unit_name = next((each for each in _UNITS if one >= each[0]), _UNITS[-1])
    body += element("line", x1=_LEFT, x2=_RIGHT, y1=bottom, y2=bottom, class_="axis")
    ticks = [(place(value * unit), f"{value:,g}") for value in _ticks(low / unit, high / unit)]
    body += "".join(label(x, bottom + 16, text, "middle", "quiet") for x, text in _apart(ticks))
    axis = f"device-{unit_name} a step, log scale; band: {UNEQUAL:g}-fold"
    body += label(_RIGHT, bottom + 34, axis, "end", "quiet")
    description = "; ".join(
        f"{path} {bill_time(each.device_seconds_per_step / 3600)}" for path, each in pace.paths.items()
    )
    return Drawing("Speed of every path", f"Device time of a step. {description}.", _WIDTH, bottom + 40, body)


def _ticks(low: float, high: float) -> list[float]:
    """Return the values 1, 2 and 5 times a power of 10 between two values."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = (digit * 10.0**power for power in powers for digit in (1, 2, 5))
    return [value for value in values if low <= value <= high]


def _apart(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return the ticks without those that are too close to the one before."""
    kept: list[tuple[float, str]] = []
    for x, text in ticks:
        if not kept or x - kept[-1][0] >= _TICK_ROOM:
            kept.append((x, text))
    return kept
