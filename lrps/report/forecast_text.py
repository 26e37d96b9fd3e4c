"""A forecast as tables and sentences for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lrps.base.amounts import bill_time
from lrps.base.numbers import amount, count
from lrps.costs.forecasts.average_rows import AverageRow
from lrps.costs.forecasts.known_losses import optimizer_remark
from lrps.costs.forecasts.spend import SpendChoice
from lrps.costs.forecasts.version_forecast import ForecastLoss, ForecastRow, VersionForecast
from lrps.forecast.fallback import Fallback
from lrps.report.table import Column, Table, text_column


def forecast_table(forecast: VersionForecast) -> Table:
    """Return a row for every possible branch: its cost, and its forecast losses with their 90 % bands."""
    sets = list(forecast.rows[0].losses)
    columns = (
        text_column("shape"),
        Column("alpha", "{:g}".format),
        Column("steps", count),
        Column("fork", count),
        Column("device time", bill_time, priority=1),
        Column("cost", amount, unit=forecast.currency or "", priority=2),
        Column("mean loss"),
        *(Column(f"on {each}", priority=3 + index) for index, each in enumerate(sets)),
        text_column("", key="planned"),
    )
    rows = tuple(
        (
            *(row.shape, round(row.alpha, 4), row.steps, row.fork, row.device_hours, row.money),
            _banded(row.mean_loss, row.mean_half_width),
            *(_banded(row.losses[each].loss, row.losses[each].half_width) for each in sets),
            "<- config" if row.is_planned else "",
        )
        for row in forecast.rows
    )
    averages = tuple(_average_cells(each, sets) for each in forecast.averages)
    return Table(f"forecast of {forecast.version}, {when_made(forecast)}", columns, (*rows, *averages))


def other_paradigms(forecast: VersionForecast) -> str:
    """Return the sentence that names the paradigms of path switching without a forecast here; empty without any."""
    names = ", ".join(forecast.other_paradigms)
    return f"Not forecast here: {names} (`lrps forecast CONFIG --paradigm NAME`)." if names else ""


def when_made(forecast: VersionForecast) -> str:
    """Return the words on what a forecast rests on: before or after its branch was trained, and on how much then."""
    if not forecast.trained:
        return "before its branch is trained"
    if forecast.as_recorded:
        return "from what was known when its branch began"
    return "from the main path up to its fork (what more was known when its branch began is not recorded)"


def _average_cells(row: AverageRow, sets: Sequence[str]) -> tuple[str | float | None, ...]:
    """Return the cells of an average of the main path: it has no branch, and its losses are measured."""
    losses = (f"{row.losses[each].loss:.4f}" if each in row.losses else "-" for each in sets)
    mean = "-" if row.mean_loss is None else f"{row.mean_loss:.4f}"
    return (row.form, None, 0, row.step, 0.0, None, mean, *losses, "measured, no branch")


def _banded(loss: float | None, half_width: float | None) -> str:
    return "refused" if loss is None or half_width is None else f"{loss:.4f} +-{half_width:.4f}"


def forecast_remarks(forecast: VersionForecast) -> Iterator[str]:
    """Yield the sentences on what the forecast is based on, what a simpler rule says, and why sets are refused."""
    row = next((row for row in forecast.rows if row.is_planned), forecast.rows[0])
    yield (
        "The cost is that of the branch, beyond the main path that later versions need anyway. +- is the 90 % band. "
        f"alpha is in the unit `{forecast.alpha_of}` of the config."
    )
    if others := other_paradigms(forecast):
        yield others
    if remark := optimizer_remark(forecast.optimizer):
        yield remark
    for average in forecast.averages:
        if average.mean_branch is not None:
            yield (
                f"By the {average.form} at step {average.step:,} and how far the last branch of this length was below "
                f"its own, a branch of {average.branch_steps:,} steps has the mean loss {average.mean_branch:.4f}."
            )
    for name, found in row.losses.items():
        yield f"{name}: {_basis(row, found)}"


def _basis(row: ForecastRow, found: ForecastLoss) -> str:
    branches = {0: "no finished branch", 1: "one finished branch"}.get(
        found.branches, f"{found.branches} finished branches"
    )
    known = (
        "the main path was never evaluated" if found.known_to is None else f"main path known to step {found.known_to:,}"
    )
    parts = [f"{branches}, {known}"]
    if found.band_branches:
        parts.append(f"band from this run's own {found.band_branches} branches")
    if found.refused is not None:
        parts.append(f"refused: {found.refused}")
    if found.fallback is not None:
        parts.append(_fallback(found.fallback))
    if found.repeat_last_drop is not None and found.loss is not None:
        parts.append(f"`repeat the last drop` says {found.repeat_last_drop:.4f} for {row.steps:,} steps")
    if found.curve is not None and found.is_noisy:
        parts.append(
            f"the main path's losses are off their curve by {found.curve.rms:.4f} (rms), more than the band of these "
            "branches: it is the wide one of a forecast without branches"
        )
    if found.outcome is not None:
        off = "" if found.loss is None else f", {found.outcome - found.loss:+.4f} from the forecast"
        parts.append(f"measured: {found.outcome:.4f}{off}")
    return "; ".join(parts) + "."


def _fallback(found: Fallback) -> str:
    text = (
        f"instead: {found.loss:.4f} +-{found.half_width:.2f}, the main path at the end of the increment "
        f"({found.main_loss:.4f}) less the gain of {found.of_version} on its {found.role} text ({found.gain:.4f})"
    )
    if found.mean_error is None:
        return f"{text}; no earlier version of this run could test it"
    losses = "one measured loss" if found.checked == 1 else f"{found.checked} measured losses"
    return f"{text}; for earlier versions of this run it was off by {found.mean_error:.4f} on average ({losses})"


def spend_table(choice: SpendChoice) -> Table:
    """Return a row for every version to come: the chosen branch beside that of the config."""
    columns = (
        text_column("version"),
        Column("alpha", "{:g}".format),
        *(Column("steps", count), Column("fork", count), Column("loss")),
        *(Column("config's steps", count), Column("config's loss", "{:.4f}".format)),
    )
    rows = tuple(
        (each.version, each.alpha, each.steps, each.fork, _banded(each.loss, each.half_width),
         each.planned_steps, each.planned_loss)
        for each in choice.versions
    )  # fmt: skip
    return Table(f"branches for a budget of {choice.budget}", columns, rows)


def spend_remarks(choice: SpendChoice) -> Iterator[str]:
    """Yield what is to be known of the choice, and its costs; the lines for the config follow."""
    yield from choice.remarks
    yield (
        f"{choice.steps:,} steps in all, {choice.planned_steps:,} with the config as it is; the budget is "
        f"{choice.budget_steps:,.0f} steps. Losses are means over the held-out sets. For the config:"
    )
