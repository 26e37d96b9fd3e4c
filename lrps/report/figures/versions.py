"""Figures over the versions, a line per paradigm: their cost so far, their losses, and their losses on older data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, takewhile

from lrps.base.numbers import amount, count, loss
from lrps.charts.axes import Axis, names_axis, number_axis
from lrps.charts.figure import Figure
from lrps.charts.line import LineChart, Mark, Series
from lrps.charts.svg import Drawing, Point
from lrps.costs.comparison import Comparison
from lrps.costs.released_version import ReleasedVersion
from lrps.report.tags import START_UP

Values = Mapping[str, Sequence[float | None]]
"""Values of all versions, by paradigm; None where a version has none."""


def cumulative_cost(comparison: Comparison) -> Figure:
    """Return a chart of the planned steps of all versions so far, and one of their device-hours if they are known."""
    steps: Values = {
        name: [float(total) for total in paradigm.cumulative_steps.values()]
        for name, paradigm in comparison.paradigms.items()
    }
    panels = [
        _panel(
            comparison,
            "cumulative-cost",
            "Training steps",
            "planned, all versions so far",
            steps,
            _steps_text,
            from_zero=True,
        )
    ]
    hours, bases = _cumulative_hours(comparison)
    if bases:
        unit = f"{' or '.join(sorted(bases))}, all versions so far"
        panels.append(_panel(comparison, "cumulative-hours", "Device-hours", unit, hours, _hours_text, from_zero=True))
    caption = (
        "Cost of all versions up to each one. Trained from scratch, a version costs as much as all data so far; with "
        "path switching it adds its increment and one repeated decay."
    )
    if "measured" in bases:
        caption = f"{caption} {START_UP}"
    return Figure("cumulative-cost", "Cumulative cost", caption, tuple(panel for panel in panels if panel is not None))


def _steps_text(steps: float) -> str:
    return f"{count(round(steps))} steps"


def _hours_text(hours: float) -> str:
    return f"{amount(hours)} device-hours"


def _cumulative_hours(comparison: Comparison) -> tuple[Values, set[str]]:
    """Return the sums of the marginal costs, up to the first one that is unknown, and the bases of these costs."""
    hours: dict[str, list[float | None]] = {}
    bases: set[str] = set()
    for name, paradigm in comparison.paradigms.items():
        marginal = [release.cost.marginal for release in paradigm.releases]
        known = list(takewhile(lambda cost: cost.device_hours is not None, marginal))
        bases |= {cost.basis for cost in known if cost.basis}
        sums = accumulate(cost.device_hours or 0.0 for cost in known)
        hours[name] = [*sums, *([None] * (len(marginal) - len(known)))]
    return hours, bases


def heldout_losses(comparison: Comparison) -> Figure | None:
    """Return charts of the mean loss over the versions so far, and of bits per byte on the version's own held-out set.

    None before the first evaluation.
    """
    seen = _of_releases(comparison, lambda releases, i: releases[i].seen_loss)
    own = _of_releases(comparison, _own_bits)
    panels = (
        _panel(
            comparison, "heldout-loss", "All versions so far", "held-out loss, nats per token, measured", seen, loss
        ),
        _panel(comparison, "adaptation", "Its own, newest data", "held-out loss, bits per byte, measured", own, loss),
    )
    caption = (
        "All versions so far: mean loss of each version on the held-out sets of all versions up to its own. Its own: "
        "bits per byte on the held-out set of its own data alone, the newest it was trained on. Lower is better; the "
        "axes do not begin at 0. One seed: small differences may not repeat."
    )
    drawn = tuple(panel for panel in panels if panel is not None)
    return Figure("heldout-loss", "Held-out loss", caption, drawn) if drawn else None


def older_data_losses(comparison: Comparison) -> Figure | None:
    """Return a chart of the loss on the oldest data, and one of the mean change of the loss on all older data.

    None with a single version, and before the first evaluation.
    """
    if len(comparison.plan.versions) < 2:
        return None
    first = comparison.plan.versions[0].name
    on_first = _of_releases(comparison, lambda releases, i: _heldout_loss(releases[i], first))
    unit = "held-out loss, nats per token, measured"
    panels = (
        _panel(comparison, "loss-on-oldest", f"On {first}'s data", unit, on_first, loss),
        _panel(
            comparison,
            "forgetting-mean",
            "Change on older data",
            "change of held-out loss, nats per token, measured",
            _of_releases(comparison, _forgotten),
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


Releases = Sequence[ReleasedVersion]


def _own_bits(releases: Releases, i: int) -> float | None:
    heldout = releases[i].heldout.get(releases[i].version)
    return None if heldout is None else heldout.bits_per_byte


def _heldout_loss(release: ReleasedVersion, version: str) -> float | None:
    heldout = release.heldout.get(version)
    return None if heldout is None else heldout.loss


def _forgotten(releases: Releases, i: int) -> float | None:
    """Return the mean change of the loss on all older held-out sets since their versions were new.

    None for the first version, and if a loss was not measured.
    """
    changes = []
    for older in releases[:i]:
        now, new = _heldout_loss(releases[i], older.version), _heldout_loss(older, older.version)
        if now is None or new is None:
            return None
        changes.append(now - new)
    return sum(changes) / len(changes) if changes else None


def _of_releases(comparison: Comparison, value: Callable[[Releases, int], float | None]) -> Values:
    return {
        name: [value(paradigm.releases, i) for i in range(len(paradigm.releases))]
        for name, paradigm in comparison.paradigms.items()
    }


def _panel(
    comparison: Comparison,
    file: str,
    title: str,
    unit: str,
    values: Values,
    text: Callable[[float], str],
    *,
    from_zero: bool = False,
) -> tuple[str, Drawing] | None:
    """Return a chart of one value over the versions with the name of its file; None without any value."""
    known = [value for each in values.values() for value in each if value is not None]
    if not known:
        return None
    versions = [version.name for version in comparison.plan.versions]
    y = number_axis(unit, known, from_zero=from_zero, whole=from_zero and text is _steps_text)
    series = tuple(
        Series(slot, _unbroken(points), _marks(name, versions, points, unit, text), name)
        for slot, name in enumerate(comparison.paradigms)
        if (points := [(float(i), value) for i, value in enumerate(values[name]) if value is not None])
    )
    return file, _chart(title, versions, y, series, text)


def _chart(
    title: str, versions: Sequence[str], y: Axis, series: tuple[Series, ...], text: Callable[[float], str]
) -> Drawing:
    ends = "; ".join(f"{each.name} {text(each.end[1])} at {versions[round(each.end[0])]}" for each in series)
    description = f"{title}: {y.label}, over the versions, a line per paradigm. {ends}."
    return LineChart(title, description, names_axis("version", versions), y, series).draw()


def _marks(
    name: str, versions: Sequence[str], points: Sequence[Point], unit: str, text: Callable[[float], str]
) -> tuple[Mark, ...]:
    return tuple(Mark((i, value), f"{name} {versions[int(i)]}: {text(value)} {unit}") for i, value in points)


def _unbroken(points: Sequence[Point]) -> tuple[tuple[Point, ...], ...]:
    """Return runs of neighbouring versions: a line across a version that was not measured would suggest a value."""
    runs: list[list[Point]] = []
    for point in points:
        if runs and point[0] == runs[-1][-1][0] + 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    return tuple(map(tuple, runs))
