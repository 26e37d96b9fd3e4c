"""Training loss over steps, smoothed: a chart per paradigm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lrps.base.numbers import loss
from lrps.charts.axes import Axis, number_axis
from lrps.charts.figure import Figure
from lrps.charts.line import LineChart, Series, point_at
from lrps.charts.svg import Point
from lrps.costs.comparison import Comparison
from lrps.costs.paradigm_costs import ParadigmCosts
from lrps.costs.path_curve import PathCurve
from lrps.report.figures.step_chart import release_mark, releases_of, steps_axis, version_guides

_WINDOWS = 60
"""Number of windows that the axis is divided into. Losses are drawn as means over a window of steps, so that short and
long paths are equally smooth."""
_LEFT_OUT = 0.05
"""Share of the steps whose losses the axis need not include: those of a model that has learned nothing yet."""
_RELEASED = ("trained", "complete")
"""States of a path whose release exists."""


def training_losses(comparison: Comparison) -> Figure | None:
    """Return a chart per paradigm that logged a loss; None before anything was logged."""
    x = steps_axis(comparison)
    window = max(1.0, x.high / _WINDOWS)
    curves = {name: _smoothed(curve, window) for name, curve in comparison.curves.items()}
    late = [value for points in curves.values() for step, value in points if step >= _LEFT_OUT * x.high]
    if not late:
        return None
    y = number_axis("training loss, nats per token", late)
    panels = tuple(
        (f"training-loss-{name}", chart.draw())
        for slot, (name, paradigm) in enumerate(comparison.paradigms.items())
        if (chart := _losses(curves, slot, name, paradigm, x, y)).series
    )
    caption = (
        f"Training loss on the same axes, as means over {_steps_text(round(window))}; the first steps are above the "
        "axis. Thick: main path; filled marker: released version. Versions may differ in how hard their text is: "
        "compare paradigms at the same version."
    )
    return Figure("training-loss", "Training loss", caption, panels)


def _steps_text(steps: int) -> str:
    return f"{steps:,} step{'s' if steps > 1 else ''}"


def _smoothed(curve: PathCurve, window: float) -> list[Point]:
    """Return means over `window` steps, each at its last step. The last window ends with the path, so it is whole."""
    thinned = bool(curve.mean_steps)
    steps, losses = (curve.mean_steps, curve.mean_loss) if thinned else (curve.loss_steps, curve.loss)
    counts = curve.mean_count if thinned else (1,) * len(steps)
    groups: dict[int, list[tuple[int, float, int]]] = {}
    for step, mean, number in zip(steps, losses, counts, strict=True):
        groups.setdefault(int((steps[-1] - step) / window), []).append((step, mean * number, number))
    return [(group[-1][0], sum(y for _, y, _ in group) / sum(n for _, _, n in group)) for group in groups.values()]


def _losses(
    curves: Mapping[str, Sequence[Point]], slot: int, name: str, paradigm: ParadigmCosts, x: Axis, y: Axis
) -> LineChart:
    series, ends = [], []
    for path in paradigm.paths:
        logged = [point for point in curves[path.plan.name] if point[0] <= path.plan.stop_step]
        line = tuple(point for point in logged if point[1] <= y.high)
        if not line:
            continue
        released = releases_of(paradigm, path) if path.state in _RELEASED else []
        marks = tuple(release_mark(release, point_at(line, release.step)) for release in released)
        ends += [f"{release.version} {loss(mark.at[1])}" for release, mark in zip(released, marks, strict=True)]
        series.append(Series(slot, (line,), marks, thick=path.plan.kind == "main", dashed=False))
    at_end = f" At the end: {', '.join(ends)}." if ends else ""
    return LineChart(
        title=name,
        description=f"Training loss of {name} over training steps, in nats per token.{at_end}",
        x=x,
        y=y,
        series=tuple(series),
        guides=version_guides(paradigm),
    )
