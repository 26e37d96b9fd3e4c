"""Loss against cost: the held-out loss of the newest version over the cost of all versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lrps.base.numbers import amount, loss, short
from lrps.charts.axes import number_axis
from lrps.charts.figure import Figure
from lrps.charts.line import LineChart, Mark, Series
from lrps.charts.svg import Drawing
from lrps.costs.comparison import Comparison


def loss_against_cost(comparison: Comparison) -> Figure | None:
    """Return a chart over steps, and one over device-hours once every drawn paradigm was measured to its end.

    None before the first loss of a newest version.
    """
    drawn = {name: p for name, p in comparison.paradigms.items() if p.releases[-1].seen_loss is not None}
    if not drawn:
        return None
    steps = {name: float(paradigm.plan.cost.steps) for name, paradigm in drawn.items()}
    panels = [("loss-against-steps", _against(comparison, steps, "training steps, planned", short))]
    hours = {name: p.measured.device_hours for name, p in drawn.items() if p.complete and p.measured}
    if len(hours) == len(drawn):
        panels.append(("loss-against-hours", _against(comparison, hours, "device-hours, measured", amount)))
    caption = (
        "Mean held-out loss of the newest version, over the cost of all versions together: left is cheaper, lower is "
        "better. A path that paradigms share counts in each. Hours are those of this machine, with whatever else "
        "ran on it; steps do not depend on it. The axis of the loss does not begin at 0."
    )
    return Figure("loss-against-cost", "Loss against cost", caption, tuple(panels))


def _against(comparison: Comparison, costs: Mapping[str, float], unit: str, text: Callable[[float], str]) -> Drawing:
    """Return a chart with a point per paradigm in `costs`."""
    version = comparison.plan.versions[-1].name
    series = []
    for slot, (name, paradigm) in enumerate(comparison.paradigms.items()):
        value = paradigm.releases[-1].seen_loss
        if name in costs and value is not None:
            mark = Mark((costs[name], value), f"{name}: {text(costs[name])} {unit}, loss {loss(value)}")
            series.append(Series(slot, (), (mark,), name))
    points = "; ".join(mark.words for one in series for mark in one.marks)
    return LineChart(
        title=unit.split(",")[0].capitalize(),
        description=f"Mean held-out loss of {version} against the {unit} of all versions. {points}.",
        x=number_axis(f"{unit}, all versions", costs.values(), from_zero=True),
        y=number_axis(f"held-out loss of {version}, nats per token, measured", [s.end[1] for s in series]),
        series=tuple(series),
        names_at_end=False,
    ).draw()
