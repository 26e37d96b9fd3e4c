"""The learning-rate paths with their branch points: the paper's figure 1, for every paradigm of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrps.base.numbers import count
from lrps.charts.axes import Axis, number_axis
from lrps.charts.figure import (
    Document,
    Figure,
    forks_off_main,
    point_at,
    release_mark,
    slotted,
    steps_axis,
    version_guides,
)
from lrps.charts.line import Chart, Mark, Series
from lrps.charts.svg import Point


def learning_rates(document: Document) -> Figure:
    """A panel a paradigm; there is always one, since it needs no more than the plan."""
    x = steps_axis(document)
    y = number_axis("learning rate", [max(curve["lr"]) for curve in document["curves"].values()], from_zero=True)
    panels = tuple(
        (f"learning-rate-{name}", _rates(document, slot, name, paradigm, x, y).draw())
        for slot, name, paradigm in slotted(document)
    )
    caption = (
        "One panel a paradigm, on the same axes. A thick line is a main path at the maximal learning rate, a ring a "
        "branch point on it, a filled marker a released version; the dotted lines name the versions. A path that "
        "starts at step 0 is paid for from there: compare the length of all lines together."
    )
    return Figure("learning-rate", "Learning-rate paths", caption, panels)


def _rates(document: Document, slot: int, name: str, paradigm: Mapping[str, Any], x: Axis, y: Axis) -> Chart:
    lines = {path["name"]: _line(document, path) for path in paradigm["paths"]}
    series = []
    for path in paradigm["paths"]:
        line = lines[path["name"]]
        released = [r for r in paradigm["releases"] if r["path"] == path["name"]]
        marks = [release_mark(release, point_at(line, release["step"])) for release in released]
        if forks_off_main(paradigm, path):
            marks.insert(0, Mark(line[0], f"{path['name']} forks at step {path['start_step']:,}", True))
        series.append(Series(slot, (line,), tuple(marks), thick=path["job"] == "main", dashed=False))
    rings = any(forks_off_main(paradigm, path) for path in paradigm["paths"])
    steps = f"{count(paradigm['total_steps'])} steps in {_paths_text(len(paradigm['paths']))}"
    versions = ", ".join(f"{r['version']} after step {r['step']:,}" for r in paradigm["releases"])
    return Chart(
        title=name,
        description=f"Learning rate of {name} over training steps: {steps}. Released: {versions}.",
        note=steps + (" · ring: branch point" if rings else ""),
        x=x,
        y=y,
        series=tuple(series),
        guides=version_guides(paradigm),
    )


def _paths_text(paths: int) -> str:
    return f"{paths} path{'s' if paths > 1 else ''}"


def _line(document: Document, path: Mapping[str, Any]) -> tuple[Point, ...]:
    """The rate of a path up to its stop in this paradigm; another may take a shared main path further."""
    curve, stop = document["curves"][path["name"]], path["stop_step"]
    points = list(zip(curve["steps"], curve["lr"], strict=True))
    inside = [point for point in points if point[0] <= stop]
    return tuple(inside if inside[-1][0] == stop else [*inside, point_at(points, stop)])
