"""The figures of a comparison: documents in, drawings out. A figure without any value is left out.

Every paradigm has one colour, dash pattern and marker in all figures: its place in the config.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrps.report.axes import Axis, names_axis, number_axis
from lrps.report.chart import Chart, Mark, Series
from lrps.report.heatmap import Heatmap
from lrps.report.numbers import amount, count, loss, short
from lrps.report.svg import Drawing, Point

Document = Mapping[str, Any]

_WINDOWS = 60
"""A training curve is drawn as means over this share of the axis: equally smooth for short and for long paths."""
_LEFT_OUT = 0.05
"""Share of the steps at whose losses the axis does not have to reach: a model that has learned nothing yet."""


@dataclass(frozen=True)
class Figure:
    """One or more drawings (name of the file, drawing) under one title; the caption says how to read them."""

    name: str
    title: str
    caption: str
    panels: tuple[tuple[str, Drawing], ...]


def figures(document: Document) -> tuple[Figure, ...]:
    """All figures that there are values for, in the order of the page."""
    makers = (learning_rates, cumulative_cost, heldout_losses, loss_against_cost, training_losses, forgetting)
    return tuple(figure for maker in makers if (figure := maker(document)) is not None)


def _paradigms(document: Document) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """(slot, name, described paradigm)"""
    for slot, (name, paradigm) in enumerate(document["paradigms"].items()):
        yield slot, name, paradigm


def _steps_axis(document: Document) -> Axis:
    stops = [path["stop_step"] for p in document["paradigms"].values() for path in p["paths"]]
    return number_axis("training steps of the lineage", stops, from_zero=True, whole=True)


def _guides(paradigm: Mapping[str, Any]) -> tuple[tuple[float, str], ...]:
    return tuple((release["step"], release["version"]) for release in paradigm["releases"])


def _at(points: Sequence[Point], x: float) -> Point:
    """The point of a line at x: between its neighbours, or the nearest end."""
    i = bisect_left([point[0] for point in points], x)
    if i == len(points) or points[i][0] == x:
        return points[min(i, len(points) - 1)]
    if i == 0:
        return points[0]
    (x0, y0), (x1, y1) = points[i - 1], points[i]
    return x, y0 + (y1 - y0) * (x - x0) / (x1 - x0)


# The learning-rate paths


def learning_rates(document: Document) -> Figure:
    """The paper's figure 1, for every paradigm."""
    x = _steps_axis(document)
    y = number_axis("learning rate", [max(curve["lr"]) for curve in document["curves"].values()], from_zero=True)
    panels = tuple(
        (f"learning-rate-{name}", _rates(document, slot, name, paradigm, x, y).draw())
        for slot, name, paradigm in _paradigms(document)
    )
    caption = (
        "One panel a paradigm, on the same axes. A thick line is a main path at the maximal learning rate, a ring a "
        "branch point on it, a filled marker a released version; the dotted lines name the versions. A path that "
        "starts at step 0 is paid for from there: compare the length of all lines together."
    )
    return Figure("learning-rate", "Learning-rate paths", caption, panels)


def _rates(document: Document, slot: int, name: str, paradigm: Mapping[str, Any], x: Axis, y: Axis) -> Chart:
    lines = {path["name"]: _rate_line(document, path) for path in paradigm["paths"]}
    series = []
    for path in paradigm["paths"]:
        released = [r for r in paradigm["releases"] if r["path"] == path["name"]]
        marks = [_released(release, _at(lines[path["name"]], release["step"])) for release in released]
        if _on_main(paradigm, path):
            marks.insert(0, Mark(lines[path["name"]][0], f"{path['name']} forks at step {path['start_step']:,}", True))
        main = path["job"] == "main"
        series.append(Series(slot, (lines[path["name"]],), tuple(marks), thick=main, dashed=False))
    rings = any(_on_main(paradigm, path) for path in paradigm["paths"])
    return Chart(
        title=name,
        description=f"Learning rate over steps of the {len(paradigm['paths'])} paths of {name}.",
        note=f"{count(paradigm['total_steps'])} steps in {len(paradigm['paths'])} paths"
        + (" · ring: branch point" if rings else ""),
        x=x,
        y=y,
        series=tuple(series),
        guides=_guides(paradigm),
    )


def _rate_line(document: Document, path: Mapping[str, Any]) -> tuple[Point, ...]:
    """The rate of a path up to its stop in this paradigm; another may take a shared main path further."""
    curve, stop = document["curves"][path["name"]], path["stop_step"]
    points = list(zip(curve["steps"], curve["lr"], strict=True))
    inside = [point for point in points if point[0] <= stop]
    return tuple(inside if inside[-1][0] == stop else [*inside, _at(points, stop)])


def _on_main(paradigm: Mapping[str, Any], path: Mapping[str, Any]) -> bool:
    """True for a branch: its parent is a main path of the paradigm."""
    mains = {other["name"] for other in paradigm["paths"] if other["job"] == "main"}
    return path["parent"] is not None and path["parent"]["path"] in mains


def _released(release: Mapping[str, Any], at: Point) -> Mark:
    return Mark(at, f"{release['version']}: {release['path']} after step {release['step']:,}")


# Training losses


def training_losses(document: Document) -> Figure | None:
    """Training loss over steps, a panel a paradigm."""
    x = _steps_axis(document)
    window = max(1.0, x.high / _WINDOWS)
    curves = {name: _smoothed(curve, window) for name, curve in document["curves"].items()}
    late = [value for points in curves.values() for step, value in points if step >= _LEFT_OUT * x.high]
    if not late:
        return None
    y = number_axis("training loss, nats a token", late)
    panels = tuple(
        (f"training-loss-{name}", chart.draw())
        for slot, name, paradigm in _paradigms(document)
        if (chart := _losses(curves, slot, name, paradigm, x, y)).series
    )
    caption = (
        f"Training loss on the same axes, as means over {count(round(window))} steps; the first steps lie above the "
        "axis. Thick: main path; filled marker: released version. Versions may differ in how hard their text is: "
        "compare paradigms at the same version."
    )
    return Figure("training-loss", "Training loss", caption, panels)


def _smoothed(curve: Mapping[str, Any], window: float) -> list[Point]:
    """Means over `window` steps, each at its last step. Windows end with the path, so that its end is a whole mean."""
    groups: dict[int, list[Point]] = {}
    for point in zip(curve["loss_steps"], curve["loss"], strict=True):
        groups.setdefault(int((curve["loss_steps"][-1] - point[0]) / window), []).append(point)
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups.values()]


def _losses(
    curves: Mapping[str, Sequence[Point]], slot: int, name: str, paradigm: Mapping[str, Any], x: Axis, y: Axis
) -> Chart:
    series = []
    for path in paradigm["paths"]:
        logged = [point for point in curves[path["name"]] if point[0] <= path["stop_step"]]
        line = tuple(point for point in logged if point[1] <= y.high)
        released = [r for r in paradigm["releases"] if r["path"] == path["name"] and path["state"] in _TRAINED]
        marks = tuple(_released(release, _at(line, release["step"])) for release in released) if line else ()
        if line:
            series.append(Series(slot, (line,), marks, thick=path["job"] == "main", dashed=False))
    return Chart(
        title=name,
        description=f"Training loss over steps of the paths of {name}.",
        x=x,
        y=y,
        series=tuple(series),
        guides=_guides(paradigm),
    )


_TRAINED = ("trained", "complete")


# Versions


def _by_version(
    document: Document, y_label: str, value: Callable[[Mapping[str, Any]], float | None], words: Callable[[float], str]
) -> tuple[Series, ...]:
    """A series a paradigm: a value of each of its releases that has one, over the versions."""
    series = []
    for slot, name, paradigm in _paradigms(document):
        values = [(float(i), value(release)) for i, release in enumerate(paradigm["releases"])]
        points = tuple((i, v) for i, v in values if v is not None)
        versions = [release["version"] for release in paradigm["releases"]]
        marks = tuple(Mark((i, v), f"{name} {versions[int(i)]}: {words(v)} {y_label}") for i, v in points)
        if points:
            series.append(Series(slot, _unbroken(points), marks, name))
    return tuple(series)


def _unbroken(points: Sequence[Point]) -> tuple[tuple[Point, ...], ...]:
    """Runs of neighbouring versions: a line across a version that was not measured would make one up."""
    runs: list[list[Point]] = []
    for point in points:
        if runs and point[0] == runs[-1][-1][0] + 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    return tuple(map(tuple, runs))


def _over_versions(document: Document, title: str, y: Axis, series: tuple[Series, ...]) -> Drawing:
    versions = names_axis("version", [version["name"] for version in document["versions"]])
    return Chart(title, f"{title}: {y.label}, for every version and paradigm.", versions, y, series).draw()


def cumulative_cost(document: Document) -> Figure:
    """Planned steps of all versions so far."""
    totals = {name: paradigm["cumulative_steps"] for name, paradigm in document["paradigms"].items()}
    series = tuple(
        Series(
            slot,
            (tuple((float(i), float(steps)) for i, steps in enumerate(totals[name].values())),),
            tuple(
                Mark((float(i), float(steps)), f"{name} up to {version}: {count(steps)} steps")
                for i, (version, steps) in enumerate(totals[name].items())
            ),
            name,
        )
        for slot, name, _ in _paradigms(document)
    )
    steps = [steps for total in totals.values() for steps in total.values()]
    caption = (
        "Training steps (planned) that all versions up to this one take together. From scratch the cost of a version "
        "grows with everything before it; a switched path adds its increment and one repeated decay."
    )
    y = number_axis("training steps, planned", steps, from_zero=True, whole=True)
    drawing = _over_versions(document, "Cumulative cost", y, series)
    return Figure("cumulative-cost", "Cumulative cost", caption, (("cumulative-cost", drawing),))


def heldout_losses(document: Document) -> Figure | None:
    """Each version's mean loss over the versions so far, and its bits per byte on its own new data."""

    def own(release: Mapping[str, Any]) -> float | None:
        heldout = release["heldout"].get(release["version"])
        return None if heldout is None else heldout["bits_per_byte"]

    panels = (
        ("heldout-loss", "All versions so far", "nats a token", _seen_loss),
        ("adaptation", "Its own, newest data", "bits a byte", own),
    )
    drawn = []
    for name, title, unit, value in panels:
        series = _by_version(document, unit, value, loss)
        values = [at for one in series for line in one.lines for _, at in line]
        if values:
            y = number_axis(f"held-out loss, {unit}, measured", values)
            drawn.append((name, _over_versions(document, title, y, series)))
    caption = (
        "All versions so far: mean loss of each version on the held-out sets of all versions up to its own. Its own: "
        "bits per byte on the held-out set of its own data alone, what it learned last. Lower is better; the axes do "
        "not begin at 0. One seed: small differences may not repeat."
    )
    return Figure("heldout-loss", "Held-out loss", caption, tuple(drawn)) if drawn else None


def _seen_loss(release: Mapping[str, Any]) -> float | None:
    return release["seen_loss"]


def loss_against_cost(document: Document) -> Figure | None:
    """The newest version's loss against what all versions together cost: in steps, and in hours once measured."""
    drawn = {n: p for n, p in document["paradigms"].items() if p["releases"][-1]["seen_loss"] is not None}
    if not drawn:
        return None
    steps = {name: float(paradigm["total_steps"]) for name, paradigm in drawn.items()}
    panels = [("loss-against-steps", _against(document, steps, "training steps, planned", short))]
    if all(paradigm["complete"] and paradigm["measured"] for paradigm in drawn.values()):
        hours = {name: paradigm["measured"]["device_hours"] for name, paradigm in drawn.items()}
        panels.append(("loss-against-hours", _against(document, hours, "device-hours, measured", amount)))
    caption = (
        "What the newest version's mean held-out loss was bought with, all versions together: left is cheaper, lower "
        "is better. A path that paradigms share counts in each. Hours are those of this machine, with whatever else "
        "ran on it; steps do not depend on it. The axis of the loss does not begin at 0."
    )
    return Figure("loss-against-cost", "Loss against cost", caption, tuple(panels))


def _against(document: Document, costs: Mapping[str, float], unit: str, words: Callable[[float], str]) -> Drawing:
    """A point a paradigm that has a cost here; all of them have a loss."""
    version = document["versions"][-1]["name"]
    series = []
    for slot, name, paradigm in _paradigms(document):
        if name in costs:
            value = paradigm["releases"][-1]["seen_loss"]
            mark = Mark((costs[name], value), f"{name}: {words(costs[name])} {unit}, loss {loss(value)}")
            series.append(Series(slot, (), (mark,), name))
    return Chart(
        title=unit.split(",")[0].capitalize(),
        description=f"Mean held-out loss of {version} against the {unit} of all versions, a point a paradigm.",
        x=number_axis(f"{unit}, all versions", costs.values(), from_zero=True),
        y=number_axis(f"held-out loss of {version}, nats a token, measured", [s.end[1] for s in series]),
        series=tuple(series),
        names_at_end=False,
    ).draw()


def forgetting(document: Document) -> Figure | None:
    """Every release on every held-out set, a map a paradigm, all on one scale."""
    maps = {
        name: {(r["version"], set_): h["loss"] for r in paradigm["releases"] for set_, h in r["heldout"].items()}
        for name, paradigm in document["paradigms"].items()
    }
    losses = [value for values in maps.values() for value in values.values()]
    if not losses:
        return None
    versions = [version["name"] for version in document["versions"]]
    panels = tuple(
        (
            f"forgetting-{name}",
            Heatmap(
                title=name,
                description=f"Held-out loss of every released version of {name} on the data of every version.",
                rows=versions,
                columns=versions,
                values=maps[name],
                low=min(losses),
                high=max(losses),
                slot=slot,
            ).draw(),
        )
        for slot, name, _ in _paradigms(document)
        if maps[name]
    )
    caption = (
        "Held-out loss, nats a token; all maps share one scale, darker is higher. Framed: a version on its own, newest "
        "data. Left of the frame is older data: a column that darkens downwards is forgetting. Right of it is the next "
        "version's data, not seen yet: transfer."
    )
    return Figure("forgetting", "Every version on every held-out set", caption, panels)
