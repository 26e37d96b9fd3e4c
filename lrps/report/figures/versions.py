"""Figures over the versions, a line a paradigm: what they cost so far, how good each is, and what they forget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from lrps.base.numbers import amount, count, loss
from lrps.charts.axes import Axis, names_axis, number_axis
from lrps.charts.figure import Document, Figure, slotted
from lrps.charts.line import Chart, Mark, Series
from lrps.charts.svg import Drawing, Point
from lrps.report.tags import START_UP

Values = Mapping[str, Sequence[float | None]]
"""Paradigm -> a value a version, None where there is none."""


def cumulative_cost(document: Document) -> Figure:
    """Planned steps of all versions so far, and their device-hours once they are known."""
    steps: Values = {
        name: [float(total) for total in paradigm["cumulative_steps"].values()]
        for name, paradigm in document["paradigms"].items()
    }
    panels = [
        _panel(
            document,
            "cumulative-cost",
            "Training steps",
            "planned, all versions so far",
            steps,
            _steps_text,
            from_zero=True,
        )
    ]
    hours, bases = _cumulative_hours(document)
    if bases:
        unit = f"{' or '.join(sorted(bases))}, all versions so far"
        panels.append(_panel(document, "cumulative-hours", "Device-hours", unit, hours, _hours_text, from_zero=True))
    caption = (
        "What all versions up to this one take together. From scratch the cost of a version grows with everything "
        "before it; a switched path adds its increment and one repeated decay."
    )
    if "measured" in bases:
        caption = f"{caption} {START_UP}"
    return Figure("cumulative-cost", "Cumulative cost", caption, tuple(panel for panel in panels if panel is not None))


def _steps_text(steps: float) -> str:
    return f"{count(round(steps))} steps"


def _hours_text(hours: float) -> str:
    return f"{amount(hours)} device-hours"


def _cumulative_hours(document: Document) -> tuple[Values, set[str]]:
    """Sums of what every version added, up to the first one that is not known; and what they rest on."""
    hours: dict[str, list[float | None]] = {}
    bases: set[str] = set()
    for _, name, paradigm in slotted(document):
        added = [release.get("cost", {}).get("marginal") for release in paradigm["releases"]]
        unknown = next((i for i, cost in enumerate(added) if not cost or cost["device_hours"] is None), len(added))
        bases |= {cost["basis"] for cost in added[:unknown]}
        sums = accumulate(cost["device_hours"] for cost in added[:unknown])
        hours[name] = [*sums, *([None] * (len(added) - unknown))]
    return hours, bases


def heldout_losses(document: Document) -> Figure | None:
    """Each version's mean loss over the versions so far, and its bits per byte on its own new data."""
    seen = _of_releases(document, lambda releases, i: releases[i]["seen_loss"])
    own = _of_releases(document, _own_bits)
    panels = (
        _panel(document, "heldout-loss", "All versions so far", "held-out loss, nats a token, measured", seen, loss),
        _panel(document, "adaptation", "Its own, newest data", "held-out loss, bits a byte, measured", own, loss),
    )
    caption = (
        "All versions so far: mean loss of each version on the held-out sets of all versions up to its own. Its own: "
        "bits per byte on the held-out set of its own data alone, what it learned last. Lower is better; the axes do "
        "not begin at 0. One seed: small differences may not repeat."
    )
    drawn = tuple(panel for panel in panels if panel is not None)
    return Figure("heldout-loss", "Held-out loss", caption, drawn) if drawn else None


def ageing(document: Document) -> Figure | None:
    """What later versions do to older data: their loss on that of version 1, and the mean change on all of it."""
    if len(document["versions"]) < 2:
        return None
    first = document["versions"][0]["name"]
    on_first = _of_releases(document, lambda releases, i: _heldout_loss(releases[i], first))
    unit = "held-out loss, nats a token, measured"
    panels = (
        _panel(document, "loss-on-oldest", f"On {first}'s data", unit, on_first, loss),
        _panel(
            document,
            "forgetting-mean",
            "Change on older data",
            "change of held-out loss, nats a token, measured",
            _of_releases(document, _forgotten),
            lambda value: f"{value:+.4f}",
        ),
    )
    caption = (
        f"On {first}'s data: how well each later version still knows the oldest data. Change on older data: loss on "
        "each older version's held-out set minus the loss it had when that version was new, the mean over all older "
        "versions (backward transfer, as a loss): above 0 is forgetting, below 0 older data still gains."
    )
    drawn = tuple(panel for panel in panels if panel is not None)
    return Figure("ageing", "Older data", caption, drawn) if drawn else None


Releases = Sequence[Mapping[str, Any]]


def _own_bits(releases: Releases, i: int) -> float | None:
    heldout = releases[i]["heldout"].get(releases[i]["version"])
    return None if heldout is None else heldout["bits_per_byte"]


def _heldout_loss(release: Mapping[str, Any], version: str) -> float | None:
    heldout = release["heldout"].get(version)
    return None if heldout is None else heldout["loss"]


def _forgotten(releases: Releases, i: int) -> float | None:
    """None for the first version, and where a loss was not measured."""
    changes = []
    for older in releases[:i]:
        now, new = _heldout_loss(releases[i], older["version"]), _heldout_loss(older, older["version"])
        if now is None or new is None:
            return None
        changes.append(now - new)
    return sum(changes) / len(changes) if changes else None


def _of_releases(document: Document, value: Callable[[Releases, int], float | None]) -> Values:
    return {
        name: [value(paradigm["releases"], i) for i in range(len(paradigm["releases"]))]
        for _, name, paradigm in slotted(document)
    }


def _panel(
    document: Document,
    file: str,
    title: str,
    unit: str,
    values: Values,
    words: Callable[[float], str],
    *,
    from_zero: bool = False,
) -> tuple[str, Drawing] | None:
    """(file, chart) of one value over the versions. None without any value."""
    known = [value for each in values.values() for value in each if value is not None]
    if not known:
        return None
    versions = [version["name"] for version in document["versions"]]
    y = number_axis(unit, known, from_zero=from_zero, whole=from_zero and words is _steps_text)
    series = tuple(
        Series(slot, _unbroken(points), _marks(name, versions, points, unit, words), name)
        for slot, name, _ in slotted(document)
        if (points := [(float(i), value) for i, value in enumerate(values[name]) if value is not None])
    )
    return file, _chart(title, versions, y, series, words)


def _chart(
    title: str, versions: Sequence[str], y: Axis, series: tuple[Series, ...], words: Callable[[float], str]
) -> Drawing:
    ends = "; ".join(f"{each.name} {words(each.end[1])} at {versions[round(each.end[0])]}" for each in series)
    description = f"{title}: {y.label}, over the versions, a line a paradigm. {ends}."
    return Chart(title, description, names_axis("version", versions), y, series).draw()


def _marks(
    name: str, versions: Sequence[str], points: Sequence[Point], unit: str, words: Callable[[float], str]
) -> tuple[Mark, ...]:
    return tuple(Mark((i, value), f"{name} {versions[int(i)]}: {words(value)} {unit}") for i, value in points)


def _unbroken(points: Sequence[Point]) -> tuple[tuple[Point, ...], ...]:
    """Runs of neighbouring versions: a line across a version that was not measured would make one up."""
    runs: list[list[Point]] = []
    for point in points:
        if runs and point[0] == runs[-1][-1][0] + 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    return tuple(map(tuple, runs))
