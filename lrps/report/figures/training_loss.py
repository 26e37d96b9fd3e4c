"""Training loss over steps, smoothed: a panel a paradigm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrps.base.numbers import loss
from lrps.charts.axes import Axis, number_axis
from lrps.charts.figure import (
    TRAINED,
    Document,
    Figure,
    point_at,
    release_mark,
    slotted,
    steps_axis,
    version_guides,
)
from lrps.charts.line import Chart, Series
from lrps.charts.svg import Point

_WINDOWS = 60
"""A training curve is drawn as means over this share of the axis: equally smooth for short and for long paths."""
_LEFT_OUT = 0.05
"""Share of the steps at whose losses the axis does not have to reach: a model that has learned nothing yet."""


def training_losses(document: Document) -> Figure | None:
    """None before anything was logged."""
    x = steps_axis(document)
    window = max(1.0, x.high / _WINDOWS)
    curves = {name: _smoothed(curve, window) for name, curve in document["curves"].items()}
    late = [value for points in curves.values() for step, value in points if step >= _LEFT_OUT * x.high]
    if not late:
        return None
    y = number_axis("training loss, nats a token", late)
    panels = tuple(
        (f"training-loss-{name}", chart.draw())
        for slot, name, paradigm in slotted(document)
        if (chart := _losses(curves, slot, name, paradigm, x, y)).series
    )
    caption = (
        f"Training loss on the same axes, as means over {_steps_text(round(window))}; the first steps lie above the "
        "axis. Thick: main path; filled marker: released version. Versions may differ in how hard their text is: "
        "compare paradigms at the same version."
    )
    return Figure("training-loss", "Training loss", caption, panels)


def _steps_text(steps: int) -> str:
    return f"{steps:,} step{'s' if steps > 1 else ''}"


def _smoothed(curve: Mapping[str, Any], window: float) -> list[Point]:
    """Means over `window` steps, each at its last step. Windows end with the path, so that its end is a whole mean."""
    groups: dict[int, list[Point]] = {}
    for point in zip(curve["loss_steps"], curve["loss"], strict=True):
        groups.setdefault(int((curve["loss_steps"][-1] - point[0]) / window), []).append(point)
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups.values()]


def _losses(
    curves: Mapping[str, Sequence[Point]], slot: int, name: str, paradigm: Mapping[str, Any], x: Axis, y: Axis
) -> Chart:
    series, ends = [], []
    for path in paradigm["paths"]:
        logged = [point for point in curves[path["name"]] if point[0] <= path["stop_step"]]
        line = tuple(point for point in logged if point[1] <= y.high)
        released = [r for r in paradigm["releases"] if r["path"] == path["name"] and path["state"] in TRAINED]
        marks = tuple(release_mark(release, point_at(line, release["step"])) for release in released) if line else ()
        ends += [f"{r['version']} {loss(mark.at[1])}" for r, mark in zip(released, marks, strict=False)]
        if line:
            series.append(Series(slot, (line,), marks, thick=path["job"] == "main", dashed=False))
    at_end = f" At the end: {', '.join(ends)}." if ends else ""
    return Chart(
        title=name,
        description=f"Training loss of {name} over training steps, in nats a token.{at_end}",
        x=x,
        y=y,
        series=tuple(series),
        guides=version_guides(paradigm),
    )
