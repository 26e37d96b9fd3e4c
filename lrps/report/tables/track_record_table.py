"""Table of the track record: forecasts that stood when branches started, beside the measured losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields

from lrps.base.numbers import count, loss
from lrps.costs.forecasts.forecast_outcome import ForecastOutcome
from lrps.report.table import Column, Table, text_column

_TITLE = "forecasts and outcomes"
_NOTE = (
    "Held-out loss in nats per token as it was forecast when the branch started, with its 90 % band, and as it was "
    "measured at the end. `before the start`: recorded on request, maybe with less of the main path known. Error: "
    "measured minus forecast, also in half-widths of the band, beside the error of the simplest rule, that a branch "
    "falls as far below its fork as the last one did. n/a: not known."
)


def track_record_table(record: Sequence[ForecastOutcome]) -> Table:
    """Return the forecasts that were not refused for people."""
    columns = (
        *(text_column("version"), text_column("held-out set"), text_column("forecast")),
        Column("finished branches", count, priority=2),
        Column("measured", loss),
        *(Column("error", "{:+.4f}".format), Column("error / half-width", "{:+.2f}".format, priority=1)),
        Column("in the band", lambda inside: "yes" if inside else "no"),
        Column("error of the simplest rule", "{:+.4f}".format, priority=3),
    )
    rows = tuple(
        (
            *(each.version, each.heldout, _forecast(each), each.branches, each.outcome),
            *(each.error, each.error_in_half_widths, each.inside, each.repeat_error),
        )
        for each in record
        if each.loss is not None
    )
    return Table(_TITLE, columns, rows, (_NOTE, *_in_band(record)))


def _forecast(each: ForecastOutcome) -> str:
    when = " before the start" if each.recorded == "request" else ""
    return f"{each.loss:.4f} +-{each.half_width:.4f}{when}"


def _in_band(record: Sequence[ForecastOutcome]) -> Iterator[str]:
    judged = [each.inside for each in record if each.inside is not None]
    if judged:
        yield f"{sum(judged)} of {len(judged)} measured losses are in their bands; nine of ten are expected to be."


def track_record_records(record: Sequence[ForecastOutcome]) -> Table:
    """Return all recorded forecasts in raw values, refused ones with the reason."""
    keys = tuple(field.name for field in fields(ForecastOutcome))
    return Table(_TITLE, tuple(map(Column, keys)), tuple(tuple(asdict(each).values()) for each in record))
