"""Learning-rate paths with their branch points: the paper's figure 1, for every paradigm of a plan."""

from __future__ import annotations

from lrps.base.numbers import count
from lrps.charts.axes import Axis, number_axis
from lrps.charts.figure import Figure
from lrps.charts.line import LineChart, Mark, Series, point_at
from lrps.charts.svg import Point
from lrps.costs.comparison import Comparison
from lrps.costs.paradigm_costs import ParadigmCosts
from lrps.costs.path_curve import PathCurve
from lrps.report.figures.step_chart import is_branch, release_mark, releases_of, steps_axis, version_guides


def learning_rates(comparison: Comparison) -> Figure:
    """Return a chart per paradigm. It needs no more than the plan."""
    x = steps_axis(comparison)
    y = number_axis("learning rate", [max(curve.lr) for curve in comparison.curves.values()], from_zero=True)
    panels = tuple(
        (f"learning-rate-{name}", _rates(comparison, slot, name, x, y).draw())
        for slot, name in enumerate(comparison.paradigms)
    )
    caption = (
        "One panel per paradigm, on the same axes. A thick line is a main path at the maximal learning rate, a ring a "
        "branch point on it, a filled marker a released version; the dotted lines name the versions. A path that "
        "starts at step 0 is paid for from there: compare the length of all lines together."
    )
    return Figure("learning-rate", "Learning-rate paths", caption, panels)


def _rates(comparison: Comparison, slot: int, name: str, x: Axis, y: Axis) -> LineChart:
    paradigm = comparison.paradigms[name]
    series = []
    for path in paradigm.paths:
        line = rates_until(comparison.curves[path.plan.name], path.plan.stop_step)
        marks = [release_mark(release, point_at(line, release.step)) for release in releases_of(paradigm, path)]
        if is_branch(paradigm, path):
            marks.insert(0, Mark(line[0], f"{path.plan.name} forks at step {path.plan.start_step:,}", True))
        series.append(Series(slot, (line,), tuple(marks), thick=path.plan.kind == "main", dashed=False))
    steps = _steps_text(paradigm)
    versions = ", ".join(f"{release.label} after step {release.step:,}" for release in paradigm.releases)
    rings = any(is_branch(paradigm, path) for path in paradigm.paths)
    return LineChart(
        title=name,
        description=f"Learning rate of {name} over training steps: {steps}. Released: {versions}.",
        note=steps + (" · ring: branch point" if rings else ""),
        x=x,
        y=y,
        series=tuple(series),
        guides=version_guides(paradigm),
    )


def _steps_text(paradigm: ParadigmCosts) -> str:
    paths = len(paradigm.paths)
    return f"{count(paradigm.plan.cost.steps)} steps in {paths} path{'s' if paths > 1 else ''}"


def rates_until(curve: PathCurve, stop: int) -> tuple[Point, ...]:
    """Return the rates of a path up to its stop in this paradigm; a shared main path may continue in another one."""
    points: list[Point] = list(zip(curve.steps, curve.lr, strict=True))
    inside = [point for point in points if point[0] <= stop]
    return tuple(inside if inside[-1][0] == stop else [*inside, point_at(points, stop)])
