"""Charts of a forecast: loss against length, and the main path with branches and forecast on each held-out set."""

from __future__ import annotations

from collections.abc import Iterator

from lrps.base.numbers import loss
from lrps.charts.axes import number_axis
from lrps.charts.figure import Figure
from lrps.charts.line import LineChart, Mark, Series
from lrps.charts.svg import Drawing, Point
from lrps.costs.comparison import Comparison
from lrps.costs.curves.heldout_curve import HeldoutCurve
from lrps.costs.forecasts.known_losses import optimizer_remark
from lrps.costs.forecasts.version_forecast import ForecastLoss, ForecastRow, VersionForecast
from lrps.forecast.main_curve import MainCurve
from lrps.report.forecast_text import other_paradigms, when_made

_MAIN, _FIT, _FORECAST, _BRANCH = 0, 1, 2, 7
"""Slots of the series of a held-out set."""
_POINTS_OF_FIT = 60
_BESIDE = 0.012
"""Distance of the bars of one shape from those of another, as a share of the axis."""
_MOST_SETS = 5
"""Largest number of held-out sets in the report, which takes the newest."""
_CAPTION = (
    "Loss of {version} as it is forecast {when}, by the law of docs/forecast.md. First: the loss against what the "
    "branch costs beyond the main path, over its length and shape; the ring is the branch of the config. Then, on the "
    "newest held-out sets: losses of the main path with the fitted curve, finished branches from fork to end, and the "
    "forecast; rings are measured. Bars are 90 % bands; the axes of the loss do not begin at 0."
)


def forecast_figure(comparison: Comparison) -> Figure | None:
    """Return the charts of the comparison's forecast; None if it has none."""
    forecast = comparison.forecast
    if forecast is None:
        return None
    sets = set_charts(forecast, comparison.heldout_curves[forecast.main_path])
    panels = (*length_chart(forecast).items(), *list(sets.items())[-_MOST_SETS:])
    said = _CAPTION.format(version=forecast.version, when=when_made(forecast))
    caption = " ".join(filter(None, (said, other_paradigms(forecast), optimizer_remark(forecast.optimizer))))
    return Figure("forecast", f"Forecast of {forecast.version}", caption, panels)


def length_chart(forecast: VersionForecast) -> dict[str, Drawing]:
    """Return the chart of the loss against the length of the branch, by its name; nothing if all losses are refused.

    The loss is the mean over the held-out sets, or where that is refused, the loss on the newest set that has one.
    """
    heldout = _set_of_lengths(forecast)
    known = [(row, *value) for row in forecast.rows if (value := _banded_loss(row, heldout)) is not None]
    if not known:
        return {}
    width = max(row.steps for row, _, _ in known) - min(row.steps for row, _, _ in known)
    series = tuple(
        _over_lengths(slot, shape, [each for each in known if each[0].shape == shape], slot * _BESIDE * width)
        for slot, shape in enumerate(dict.fromkeys(row.shape for row, _, _ in known))
    )
    where = "mean over the held-out sets" if heldout is None else f"on {heldout}, because other sets are refused"
    drawing = LineChart(
        title=f"{forecast.version}: loss against length",
        note=where,
        description="; ".join(mark.words for one in series for mark in one.marks) + ".",
        x=number_axis("steps of the branch, beyond the main path", [row.steps for row, _, _ in known], whole=True),
        y=number_axis("held-out loss, nats per token, forecast", [at + d for _, at, w in known for d in (w, -w)]),
        series=series,
    ).draw()
    return {f"forecast-{forecast.version}-lengths": drawing}


def _set_of_lengths(forecast: VersionForecast) -> str | None:
    """Return the held-out set of the chart over lengths; None for the mean over all."""
    if any(row.mean_loss is not None for row in forecast.rows):
        return None
    known = (name for row in forecast.rows for name, found in row.losses.items() if found.loss is not None)
    order = list(forecast.rows[0].losses)
    return max(known, key=order.index, default=None)


def _banded_loss(row: ForecastRow, heldout: str | None) -> tuple[float, float] | None:
    """Return loss and half-width of a row on a held-out set, or of the mean; None if it is refused."""
    found = row.losses.get(heldout) if heldout is not None else None
    pair = (row.mean_loss, row.mean_half_width) if found is None else (found.loss, found.half_width)
    return None if pair[0] is None or pair[1] is None else (pair[0], pair[1])


def _over_lengths(slot: int, shape: str, known: list[tuple[ForecastRow, float, float]], beside: float) -> Series:
    """Return the losses of one shape over the length, with their bands, and a ring at the branch of the config.

    beside: distance of the bars from their points, so that those of two shapes do not cover each other.
    """
    line = tuple((float(row.steps), at) for row, at, _ in known)
    bars = tuple(((row.steps + beside, at - width), (row.steps + beside, at + width)) for row, at, width in known)
    marks = tuple(
        Mark(
            (float(row.steps), at),
            f"{shape}, {row.steps:,} steps{' as in the config' if row.is_planned else ''}: {loss(at)} +-{width:.4f}",
            hollow=row.is_planned,
        )
        for row, at, width in known
    )
    return Series(slot, (line, *bars), marks, shape, dashed=False)


def set_charts(forecast: VersionForecast, curve: HeldoutCurve) -> dict[str, Drawing]:
    """Return a chart for every held-out set whose forecast is not refused, by its name. curve: that of the main path.

    They show the branch of the config, or else the first of the table.
    """
    row = next((row for row in forecast.rows if row.is_planned), forecast.rows[0])
    return {
        f"forecast-{forecast.version}-on-{version}": _on_set(forecast, row, version, found, found.curve, curve)
        for version, found in row.losses.items()
        if found.curve is not None
    }


def _on_set(
    forecast: VersionForecast, row: ForecastRow, version: str, found: ForecastLoss, fit: MainCurve, curve: HeldoutCurve
) -> Drawing:
    assert found.loss is not None
    assert found.half_width is not None
    end = row.fork + row.steps
    shown = tuple((p.step, p.loss) for p in curve.points if p.version == version and fit.first <= p.step <= end)
    fitted = tuple((step, fit.at(step)) for step in _evenly(fit.first, end))
    band: tuple[Point, ...] = ((end, found.loss - found.half_width), (end, found.loss + found.half_width))
    words = f"{forecast.version}, forecast: {loss(found.loss)}, 90 % band {loss(band[0][1])} to {loss(band[1][1])}"
    outcome = () if found.outcome is None else (Mark((end, found.outcome), f"measured: {loss(found.outcome)}", True),)
    branches = _branches(forecast, version, fit, curve)
    values = [at for line in (shown, fitted, band, *branches.lines) for _, at in line]
    return LineChart(
        title=f"{forecast.version} on {version}",
        note=f"{row.shape}, {row.steps:,} steps from step {row.fork:,}: {loss(found.loss)} +-{found.half_width:.4f}",
        description=". ".join((words, *(mark.words for mark in (*branches.marks, *outcome)))) + ".",
        x=number_axis("training steps of the lineage", [0, end], from_zero=True, whole=True),
        y=number_axis("held-out loss, nats per token", [*values, *(mark.at[1] for mark in outcome)]),
        series=(
            Series(_MAIN, (shown,), (), "main path", dashed=False),
            Series(_FIT, (fitted,), (), "its curve"),
            *((branches,) if branches.marks else ()),
            Series(_FORECAST, (((row.fork, fit.at(row.fork)), (end, found.loss)),)),
            Series(_FORECAST, (band,), (*outcome, Mark((end, found.loss), words)), "forecast", dashed=False),
        ),
    ).draw()


def _branches(forecast: VersionForecast, version: str, fit: MainCurve, curve: HeldoutCurve) -> Series:
    """Return the finished branches on a held-out set: lines from the main path's curve to a ring at the end."""
    ends = {end.path: end for end in curve.branch_ends if end.version == version}
    known = [(past, ends[past.path]) for past in forecast.finished if past.path in ends]
    lines = tuple(((past.fork, fit.at(past.fork)), (end.step, end.loss)) for past, end in known)
    marks = tuple(Mark((e.step, e.loss), f"{past.version}, measured: {loss(e.loss)}", hollow=True) for past, e in known)
    return Series(_BRANCH, lines, marks, "branches", dashed=False)


def _evenly(start: float, stop: float) -> Iterator[float]:
    return (start + (stop - start) * i / _POINTS_OF_FIT for i in range(_POINTS_OF_FIT + 1))
