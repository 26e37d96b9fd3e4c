"""A sweep (lrps/costs/sweep.py) as tables, sentences and charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrps.base.numbers import amount, count, device_time, ratio
from lrps.charts.axes import number_axis
from lrps.charts.line import LineChart, Mark, Series
from lrps.charts.svg import SLOTS, Drawing
from lrps.costs.sweep import CPT, PATH_SWITCHING, PTFS, ParadigmCost, Sweep, SweepPoint
from lrps.report.table import Column, Table, text_column
from lrps.report.tables.loss_column import loss_cell

_RATIOS: Mapping[str, Callable[[SweepPoint], float]] = {
    "PTFS": lambda point: point.ratio_to_ptfs,
    "CPT": lambda point: point.ratio_to_cpt,
}
"""Name of the paradigm that path switching is compared with -> ratio of the steps."""


@dataclass(frozen=True)
class _Unit:
    """Unit that costs are shown in."""

    name: str
    of: Callable[[ParadigmCost], Any]
    format: Callable[[Any], str]
    """Function that writes a value in a table."""
    in_tables: str
    """Name of the values in a table, whose cells may have units of their own."""


def _unit(sweep: Sweep) -> _Unit:
    """Return the last of steps, device-hours and money that is known."""
    known = sweep.points[0].costs[PTFS].cost
    if known.money is not None:
        currency = str(sweep.currency)
        return _Unit(currency, lambda paradigm: paradigm.cost.money, amount, currency)
    if known.device_hours is not None:
        return _Unit("device-hours", lambda paradigm: paradigm.cost.device_hours, device_time, "device time")
    return _Unit("steps", lambda paradigm: paradigm.cost.steps, count, "steps")


def sweep_tables(sweep: Sweep) -> Iterator[Table]:
    """Yield, for each growth, the ratios to PTFS and CPT, and the three costs. Numbers of versions are the columns."""
    for growth in sweep.growths:
        for base, of in _RATIOS.items():
            columns = (Column("alpha", "{:g}".format, align="left"), *_version_columns(sweep, ratio))
            rows = tuple((alpha, *map(of, sweep.at(growth, alpha=alpha))) for alpha in sweep.alphas)
            yield Table(f"path switching, of {base}{_growing(growth)}", columns, rows)
        yield _cost_table(sweep, growth)
        if any(point.loss for point in sweep.at(growth)):
            yield _loss_table(sweep, growth)


def _loss_table(sweep: Sweep, growth: float) -> Table:
    columns = (Column("alpha", "{:g}".format, align="left"), *_version_columns(sweep, loss_cell))
    rows = tuple((alpha, *(point.loss for point in sweep.at(growth, alpha=alpha))) for alpha in sweep.alphas)
    note = (
        "The forecast is on the held-out sets of the run's next version, for the shape of its branches, as if text to "
        "come was like the text so far; a dash comes with the reason why there is none (docs/forecast.md)."
    )
    title = "held-out loss of the last version, forecast with its 90 % band"
    return Table(f"{title}{_growing(growth)}", columns, rows, (note,))


def _version_columns(sweep: Sweep, format: Callable[[Any], str]) -> tuple[Column, ...]:
    """Return a column for each number of versions; on a narrow terminal the last ones are left out first."""
    return tuple(Column(f"N = {number}", format, priority=index) for index, number in enumerate(sweep.versions))


def _cost_table(sweep: Sweep, growth: float) -> Table:
    unit = _unit(sweep)

    def row(title: str, kind: str, alpha: float) -> tuple[Any, ...]:
        return (title, *(unit.of(point.costs[kind]) for point in sweep.at(growth, alpha=alpha)))

    rows = [row(f"path switching, alpha {alpha:g}", PATH_SWITCHING, alpha) for alpha in sweep.alphas]
    rows += [row(title, kind, sweep.alphas[0]) for title, kind in (("PTFS", PTFS), ("CPT", CPT))]
    columns = (text_column("paradigm"), *_version_columns(sweep, unit.format))
    return Table(f"{unit.in_tables}, planned{_growing(growth)}", columns, tuple(rows))


def sweep_remarks(sweep: Sweep) -> list[str]:
    """Return the sentences that say what the tables rest on."""
    first = f"The first increment is that of the config: T = {count(sweep.first_increment_steps)} steps."
    hardware = sweep.hardware
    if hardware is None or _unit(sweep).name == "steps":
        return [f"{first} Costs are in steps: the config does not say what they take."]
    peak = f"the peak of {hardware.device} ({hardware.peak_tflops:g} TFLOP/s) x hardware.mfu {hardware.mfu:g}"
    price = hardware.price_per_device_hour
    planned = f"Planned, none of it was measured: model FLOPs over {peak}"
    if price is None:
        return [first, f"{planned}."]
    return [first, f"{planned}, at {price.amount:g} {price.currency} a device-hour ({price.source}, {price.date})."]


def _growing(growth: float) -> str:
    return "" if growth == 1 else f", each increment {growth:g} times the last"


def sweep_records(sweep: Sweep) -> Table:
    """Return a row for every point and paradigm, for sweep.csv."""
    names = ("growth", "versions", "alpha", "paradigm")
    costs = ("steps", "tokens", "flops", "device_hours", "wall_clock_hours", "money")
    losses = ("loss", "loss_half_width") if any(point.loss for point in sweep.points) else ()
    rows = tuple(
        (
            *(point.growth, point.versions, point.alpha, name, paradigm.cost.steps, paradigm.cost.tokens),
            *(paradigm.cost.flops, paradigm.cost.device_hours, paradigm.wall_clock_hours, paradigm.cost.money),
            *(_loss_of(point, name) if losses else ()),
        )
        for point in sweep.points
        for name, paradigm in point.costs.items()
    )
    return Table("sweep", tuple(map(Column, (*names, *costs, *losses))), rows)


def _loss_of(point: SweepPoint, paradigm: str) -> tuple[float | None, float | None]:
    """Return forecast loss and half-width of a paradigm's last version; only path switching has them."""
    found = point.loss if paradigm == PATH_SWITCHING else None
    return (None, None) if found is None else (found.forecast, found.half_width)


def sweep_charts(sweep: Sweep) -> dict[str, Drawing]:
    """Return name of a file -> drawing: ratios over alpha and over versions, and costs over versions, by growth."""
    drawn = {}
    for growth in sweep.growths:
        end = "" if growth == 1 else f"-growth-{growth:g}"
        for base in _RATIOS:
            drawn[f"{base.lower()}-over-alpha{end}"] = _over_alpha(sweep, growth, base)
            drawn[f"{base.lower()}-over-versions{end}"] = _over_versions(sweep, growth, base)
        drawn[f"cost-over-versions{end}"] = _cost_over_versions(sweep, growth)
    return drawn


def _over_alpha(sweep: Sweep, growth: float, base: str) -> Drawing:
    of = _RATIOS[base]
    lines = {
        f"N = {number}": [(point.alpha, of(point) * 100) for point in sweep.at(growth, versions=number)]
        for number in _spread(sweep.versions)
    }
    return _drawn(f"Cost of path switching, % of {base}", "alpha", "% of steps", growth, lines)


def _over_versions(sweep: Sweep, growth: float, base: str) -> Drawing:
    of = _RATIOS[base]
    lines = {
        f"alpha {alpha:g}": [(point.versions, of(point) * 100) for point in sweep.at(growth, alpha=alpha)]
        for alpha in _spread(sweep.alphas)
    }
    return _drawn(f"Cost of path switching, % of {base}", "versions", "% of steps", growth, lines)


def _cost_over_versions(sweep: Sweep, growth: float) -> Drawing:
    unit, alphas = _unit(sweep), sweep.alphas

    def line(kind: str, alpha: float) -> list[tuple[float, float]]:
        return [(float(p.versions), float(unit.of(p.costs[kind]))) for p in sweep.at(growth, alpha=alpha)]

    switched = {f"alpha {alpha:g}": line(PATH_SWITCHING, alpha) for alpha in dict.fromkeys((alphas[0], alphas[-1]))}
    lines = {"PTFS": line(PTFS, alphas[0]), **switched, "CPT": line(CPT, alphas[0])}
    return _drawn("Cost of all versions together", "versions", unit.name, growth, lines, from_zero=True)


def _spread(values: Sequence[Any]) -> list[Any]:
    """Return at most as many values as lines can look different, evenly chosen, both ends among them."""
    last = min(len(values), SLOTS) - 1
    return [values[round(i * (len(values) - 1) / last)] for i in range(last + 1)] if last else list(values[:1])


def _drawn(
    title: str,
    x: str,
    y: str,
    growth: float,
    lines: Mapping[str, Iterable[tuple[float, float]]],
    *,
    from_zero: bool = False,
) -> Drawing:
    points = {name: tuple(line) for name, line in lines.items()}
    every = [point for line in points.values() for point in line]
    series = tuple(
        Series(slot, (line,), tuple(Mark(at, f"{name}: {at[1]:,.4g} {y} at {x} {at[0]:g}") for at in line), name)
        for slot, (name, line) in enumerate(points.items())
    )
    return LineChart(
        title=title,
        description=f"{title}, over {x}{_growing(growth)}: {y}, planned. A line each for {', '.join(points)}.",
        x=number_axis(x, [at[0] for at in every], whole=x == "versions"),
        y=number_axis(f"{y}, planned", [at[1] for at in every], from_zero=from_zero),
        series=series,
        note=_growing(growth).removeprefix(", "),
    ).draw()
