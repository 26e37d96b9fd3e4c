"""Held-out loss of main paths over their steps, a line per held-out set, with the ends of their branches on it."""

from __future__ import annotations

from lrps.base.numbers import loss
from lrps.charts.axes import number_axis
from lrps.charts.figure import Figure
from lrps.charts.line import LineChart, Mark, Series
from lrps.charts.svg import Drawing
from lrps.costs.comparison import Comparison
from lrps.costs.curves.heldout_curve import HeldoutCurve
from lrps.report.figures.step_chart import steps_axis

_CAPTION = (
    "Held-out loss of the main path while it was trained at the peak rate, a line for each held-out set. Rings: the "
    "versions that branch from it, on the same sequences: below the line, the decayed version is better. Lower is "
    "better; the axis does not begin at 0."
)


def main_curves(comparison: Comparison) -> Figure | None:
    """Return a chart for every main path that was evaluated; None if none was."""
    panels = tuple(
        (f"main-curve-{name}", _chart(comparison, name, curve)) for name, curve in comparison.heldout_curves.items()
    )
    return Figure("main-curve", "The main path, seen on held-out data", _CAPTION, panels) if panels else None


def _chart(comparison: Comparison, name: str, curve: HeldoutCurve) -> Drawing:
    versions = [version.name for version in comparison.plan.versions]
    series = tuple(_series(slot, version, curve) for slot, version in enumerate(versions) if _points(curve, version))
    values = [point.loss for point in curve.points] + [end.loss for end in curve.branch_ends]
    last = "; ".join(f"{each.name} {loss(each.lines[0][-1][1])}" for each in series)
    return LineChart(
        title=name,
        description=f"Held-out loss of {name} over training steps, in nats per token. At its last step: {last}.",
        x=steps_axis(comparison),
        y=number_axis("held-out loss, nats per token, measured", values),
        series=series,
    ).draw()


def _points(curve: HeldoutCurve, version: str) -> tuple[tuple[float, float], ...]:
    return tuple((point.step, point.loss) for point in curve.points if point.version == version)


def _series(slot: int, version: str, curve: HeldoutCurve) -> Series:
    line = _points(curve, version)
    main = tuple(Mark(at, f"main path, step {at[0]:,}, on {version}: {loss(at[1])}") for at in line)
    ends = tuple(
        Mark((end.step, end.loss), f"{end.released} ({end.path}) on {version}: {loss(end.loss)}", hollow=True)
        for end in curve.branch_ends
        if end.version == version
    )
    return Series(slot, (line,), (*ends, *main), version, dashed=False)
