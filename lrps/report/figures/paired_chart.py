"""Paired differences between versions and the main path that they are made from, with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lrps.charts.axes import number_axis
from lrps.charts.figure import Figure
from lrps.charts.intervals import Interval, IntervalChart
from lrps.charts.svg import Drawing
from lrps.costs.comparison import Comparison
from lrps.costs.curves.paired_difference import PairedDifference
from lrps.ledger.reader import EMA, MERGE, RAW
from lrps.report.tables.paired_table import version_label

_STANDARD_ERRORS = 2
"""Length of each half of a line."""
_MOST_ROWS = 24
"""Largest number of rows with which a chart has all held-out sets."""
_SLOTS = {RAW: 0, EMA: 1, MERGE: 2}
"""Colour and marker by the form of the weights."""
_CAPTION = (
    "Loss of a version minus loss of the main path on the same held-out sequences: left of 0 the version is better. At "
    "the fork: what the branch gained. At the same step: a branch against as many steps without a decay, an average "
    "(ema, merge) against the weights that it averages. Lines and ± are two standard errors of the mean difference, "
    "about its 95% interval over sequences. They say nothing about other seeds."
)


def paired_differences_figure(comparison: Comparison) -> Figure | None:
    """Return charts of the differences from every main path; None if there is no difference."""
    panels = tuple(
        panel for name, curve in comparison.heldout_curves.items() for panel in _panels(name, curve.differences)
    )
    return Figure("paired", "Versions against the main path", _CAPTION, panels) if panels else None


def _panels(name: str, differences: Sequence[PairedDifference]) -> Iterator[tuple[str, Drawing]]:
    """Yield the charts of a main path: the differences from its state at each fork, and those at equal steps."""
    at_fork = [each for each in differences if each.main_step != each.step]
    at_same_step = [each for each in differences if each.main_step == each.step]
    if at_fork:
        yield f"paired-{name}-fork", _chart(f"Versions against {name} at the fork", at_fork)
    if at_same_step:
        yield f"paired-{name}-step", _chart(f"Versions against {name} at the same step", at_same_step)


def _chart(title: str, differences: Sequence[PairedDifference]) -> Drawing:
    if len(differences) > _MOST_ROWS and (own := [each for each in differences if each.version == each.released]):
        differences, title = own, f"{title}, on their own sets"
    rows = tuple(map(_interval, differences))
    ends = [row.value + sign * (row.half_width or 0.0) for row in rows for sign in (-1, 1)]
    return IntervalChart(
        title=title,
        description=f"Differences in held-out loss, nats per token. The last one, {rows[-1].name}: {rows[-1].text}.",
        x=number_axis("difference in held-out loss, nats per token", [0.0, *ends], ticks=4),
        rows=rows,
    ).draw()


def _interval(of: PairedDifference) -> Interval:
    half = None if of.standard_error is None else _STANDARD_ERRORS * of.standard_error
    text = f"{of.difference:+.4f}" + ("" if half is None else f" ± {half:.4f}")
    return Interval(f"{version_label(of)} on {of.version}", _SLOTS[of.form], of.difference, half, text)
