"""Charts of a forecast: the main path's losses with the fitted curve, its branches, and the forecast with its band."""

from __future__ import annotations

from collections.abc import Sequence

from lrps.base.numbers import loss
from lrps.charts.axes import number_axis
from lrps.charts.line import LineChart, Mark, Series
from lrps.charts.svg import Point
from lrps.costs.curves.heldout_curve import HeldoutCurve
from lrps.costs.forecasts.version_forecast import ForecastLoss, ForecastRow, VersionForecast
from lrps.forecast.main_curve import MainCurve

_MAIN, _FIT, _FORECAST = 0, 1, 2
"""Slots of the series."""
_POINTS_OF_FIT = 60


def forecast_charts(forecast: VersionForecast, curve: HeldoutCurve) -> dict[str, str]:
    """Return name of a file -> SVG text: a chart for every held-out set whose forecast is not refused.

    It shows the branch of the config, or else the first of the table.
    """
    row = next((row for row in forecast.rows if row.is_planned), forecast.rows[0])
    return {
        f"forecast-{forecast.version}-on-{version}.svg": _chart(forecast, row, version, found, found.curve, curve)
        for version, found in row.losses.items()
        if found.curve is not None
    }


def _chart(
    forecast: VersionForecast, row: ForecastRow, version: str, found: ForecastLoss, fit: MainCurve, curve: HeldoutCurve
) -> str:
    assert found.loss is not None
    assert found.half_width is not None
    end = row.fork + row.steps
    points = tuple((point.step, point.loss) for point in curve.points if point.version == version)
    shown = tuple(point for point in points if point[0] >= fit.first)
    fitted = tuple((step, fit.at(step)) for step in _evenly(fit.first, end))
    low, high = found.loss - found.half_width, found.loss + found.half_width
    ends = [each for each in curve.branch_ends if each.version == version]
    rings = tuple(Mark((e.step, e.loss), f"{e.released}, measured: {loss(e.loss)}", hollow=True) for e in ends)
    words = f"{forecast.version}, forecast: {loss(found.loss)}, 90 % band {loss(low)} to {loss(high)}"
    band: tuple[Point, ...] = ((end, low), (end, high))
    values = [value for _, value in (*shown, *fitted, *band)] + [each.loss for each in ends]
    return (
        LineChart(
            title=f"{forecast.version} on {version}",
            note=f"{row.shape}, {row.steps:,} steps from step {row.fork:,}",
            description=f"{words}. Rings are finished branches.",
            x=number_axis("training steps of the lineage", [0, end], from_zero=True, whole=True),
            y=number_axis("held-out loss, nats per token", values),
            series=(
                Series(_MAIN, (shown,), rings, "main path", dashed=False),
                Series(_FIT, (fitted,), (), "its curve"),
                Series(_FORECAST, (band,), (Mark((end, found.loss), words),), "forecast", thick=True, dashed=False),
            ),
        )
        .draw()
        .standalone()
    )


def _evenly(start: float, stop: float) -> Sequence[float]:
    return [start + (stop - start) * i / _POINTS_OF_FIT for i in range(_POINTS_OF_FIT + 1)]
