"""A figure of a comparison: its panels and its caption; and what several figures draw alike.

Every paradigm has one colour, dash pattern and marker in all figures: its place in the config.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrps.charts.axes import Axis, number_axis
from lrps.charts.line import Mark
from lrps.charts.svg import Drawing, Point

Document = Mapping[str, Any]
TRAINED = ("trained", "complete")
"""States of a path whose release exists."""


@dataclass(frozen=True)
class Figure:
    """One or more drawings (name of the file, drawing) under one title; the caption says how to read them."""

    name: str
    title: str
    caption: str
    panels: tuple[tuple[str, Drawing], ...]


def slotted(document: Document) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """(slot, name, described paradigm), in the order of the config."""
    for slot, (name, paradigm) in enumerate(document["paradigms"].items()):
        yield slot, name, paradigm


def steps_axis(document: Document) -> Axis:
    """Up to the newest release, the same in every figure of steps."""
    stops = [path["stop_step"] for p in document["paradigms"].values() for path in p["paths"]]
    return number_axis("training steps of the lineage", stops, from_zero=True, whole=True)


def version_guides(paradigm: Mapping[str, Any]) -> tuple[tuple[float, str], ...]:
    """Where its versions are released."""
    return tuple((release["step"], release["version"]) for release in paradigm["releases"])


def release_mark(release: Mapping[str, Any], at: Point) -> Mark:
    return Mark(at, f"{release['version']}: {release['path']} after step {release['step']:,}")


def forks_off_main(paradigm: Mapping[str, Any], path: Mapping[str, Any]) -> bool:
    """True for a branch: its parent is a main path of the paradigm."""
    mains = {other["name"] for other in paradigm["paths"] if other["job"] == "main"}
    return path["parent"] is not None and path["parent"]["path"] in mains


def point_at(points: Sequence[Point], x: float) -> Point:
    """The point of a line at x: between its neighbours, or the nearest end."""
    i = bisect_left([point[0] for point in points], x)
    if i == len(points) or points[i][0] == x:
        return points[min(i, len(points) - 1)]
    if i == 0:
        return points[0]
    (x0, y0), (x1, y1) = points[i - 1], points[i]
    return x, y0 + (y1 - y0) * (x - x0) / (x1 - x0)
