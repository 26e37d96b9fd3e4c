"""Axes of a chart: their ranges, ticks and labels. No two ticks of an axis have the same label."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_LETTERS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """Range, ticks and label of an axis."""

    label: str
    low: float
    """Value at the lower end."""
    high: float
    """Value at the upper end."""
    ticks: tuple[tuple[float, str], ...]
    """(value, label) of every tick, between the ends."""

    def share(self, value: float) -> float:
        """Return the place of a value between the ends, as a share: 0 at the lower and 1 at the upper end."""
        return (value - self.low) / (self.high - self.low)


def number_axis(
    label: str, values: Iterable[float], *, from_zero: bool = False, whole: bool = False, ticks: int = 5
) -> Axis:
    """Return an axis over at least one finite value, with room at its ends and about `ticks` ticks.

    from_zero: the axis begins at 0, for quantities that are drawn as lengths. whole: ticks are whole numbers.
    """
    known = list(values)
    low, high = min(known), max(known)
    if from_zero:
        low, high = 0.0, (high or 1.0) * 1.04
    else:
        largest = max(abs(low), abs(high))
        # Values that no label could distinguish are drawn as one.
        room = (high - low) * 0.08 if high - low > 1e-9 * largest else largest * 0.02 or 1.0
        low, high = low - room, high + room
    step = _tick_step((high - low) / ticks, whole)
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    slack = 1e-9 * (high - low)
    marks = [number * step for number in numbers if low - slack <= number * step <= high + slack]
    scale, unit, power = _scale(max(abs(low), abs(high)))
    decimals = next((d for d in range(12) if math.isclose(round(step / scale, d), step / scale, rel_tol=1e-6)), 12)
    texts = [f"{mark / scale:,.{decimals}f}{unit}" if mark else "0" for mark in marks]
    return Axis(label + power, low, high, tuple(zip(marks, texts, strict=True)))


def names_axis(label: str, names: Sequence[str]) -> Axis:
    """Return an axis with one tick for each name, at 0, 1, 2 and so on, and none between them."""
    return Axis(label, -0.35, len(names) - 0.65, tuple((float(i), name) for i, name in enumerate(names)))


def _tick_step(raw: float, whole: bool) -> float:
    """Return the smallest round step that is not below `raw`."""
    magnitude = 10.0 ** math.floor(math.log10(raw))
    steps = (factor * magnitude for factor in _STEPS)
    step = next(step for step in steps if step >= raw * (1 - 1e-9) and (not whole or step < 1 or step % 1 == 0))
    return max(1.0, step) if whole else step


def _scale(largest: float) -> tuple[float, str, str]:
    """Return (divisor, letter after tick labels, power after the axis label) that shorten large and tiny numbers."""
    if largest >= 10_000:
        scale, letter = next((scale, letter) for scale, letter in _LETTERS if largest >= scale)
        return scale, letter, ""
    if largest >= 0.01:
        return 1.0, "", ""
    exponent = math.floor(math.log10(largest))
    return 10.0**exponent, "", f" (×10{str(exponent).translate(_SUPERSCRIPT)})"
