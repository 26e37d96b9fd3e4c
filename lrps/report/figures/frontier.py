"""Loss against cost: what the newest version is worth, and what all versions together took."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lrps.base.numbers import amount, loss, short
from lrps.charts.axes import number_axis
from lrps.charts.figure import Document, Figure, slotted
from lrps.charts.line import Chart, Mark, Series
from lrps.charts.svg import Drawing


def loss_against_cost(document: Document) -> Figure | None:
    """In steps, and in device-hours once every drawn paradigm was measured to its end; None without any loss."""
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
    for slot, name, paradigm in slotted(document):
        if name in costs:
            value = paradigm["releases"][-1]["seen_loss"]
            mark = Mark((costs[name], value), f"{name}: {words(costs[name])} {unit}, loss {loss(value)}")
            series.append(Series(slot, (), (mark,), name))
    said = "; ".join(mark.words for one in series for mark in one.marks)
    return Chart(
        title=unit.split(",")[0].capitalize(),
        description=f"Mean held-out loss of {version} against the {unit} of all versions. {said}.",
        x=number_axis(f"{unit}, all versions", costs.values(), from_zero=True),
        y=number_axis(f"held-out loss of {version}, nats a token, measured", [s.end[1] for s in series]),
        series=tuple(series),
        names_at_end=False,
    ).draw()
