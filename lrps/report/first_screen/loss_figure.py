"""Held-out loss of every version against the cost of training all versions up to it, at one speed."""

from __future__ import annotations

from lrps.base.numbers import loss
from lrps.charts.axes import number_axis
from lrps.charts.line import LineChart, Mark, Series
from lrps.charts.svg import Drawing, fitted
from lrps.costs.comparison import Comparison
from lrps.report.cost_words import spoken

_LONGEST_NAME = 90.0


def loss_figure(comparison: Comparison) -> Drawing | None:
    """Return a line for each way of training with a point for each version; None before the first loss."""
    scale, unit = _scale(comparison)
    series = []
    for slot, (name, paradigm) in enumerate(comparison.paradigms.items()):
        points = [
            (paradigm.cumulative_steps[release.version] * scale, release.seen_loss, release.label)
            for release in paradigm.releases
            if release.seen_loss is not None
        ]
        if points:
            marks = [Mark((x, y), f"{spoken(name)} {version}: loss {loss(y)}") for x, y, version in points]
            line = tuple(mark.at for mark in marks)
            series.append(
                Series(slot, (line,), tuple(marks), f"{fitted(spoken(name), _LONGEST_NAME)} {loss(points[-1][1])}")
            )
    if not series:
        return None
    at = [mark.at for one in series for mark in one.marks]
    return LineChart(
        title="Held-out loss against cost",
        description=f"{'; '.join(mark.words for one in series for mark in one.marks)}.",
        note="lower left is cheaper and better",
        x=number_axis(f"training of all versions so far, {unit}", [x for x, _ in at], from_zero=True),
        y=number_axis("held-out loss, nats a token", [y for _, y in at]),
        series=tuple(series),
        names_at_end=False,
        titled=False,
    ).draw()


def _scale(comparison: Comparison) -> tuple[float, str]:
    """Return the cost of a step and its unit: money, device time, or steps where no speed is known."""
    seconds, plan = comparison.pace.device_seconds_per_step, comparison.plan
    if seconds is None:
        return 1.0, "steps"
    price = comparison.price
    if price is not None:
        return seconds / 3600 * price.amount, f"{plan.currency} at one speed"
    steps = max(way.all_versions.steps for way in comparison.answers.ways)
    in_hours = steps * seconds >= 3600
    return (seconds / 3600, "device-hours at one speed") if in_hours else (seconds, "device-seconds at one speed")
