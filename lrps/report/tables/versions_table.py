"""Table of what versions cost, one row per version of a paradigm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lrps.base.numbers import amount, device_time
from lrps.costs.comparison import Comparison
from lrps.costs.tagged_cost import TaggedCost
from lrps.report.table import Column, Table, text_column
from lrps.report.tags import START_UP, legend, marked, tag

WAYS_OF_COUNTING = (
    "marginal: what the version added to those before it. shared: every step in equal parts to all versions that "
    "descend from it. lineage: all steps from the first one to its release, what it would cost alone. Marginal costs "
    f"of a paradigm add up to all of it; so do shared ones. {START_UP}"
)
"""Explanation of marginal, shared and lineage costs."""
UNRELEASED = "(no version)"
"""Name of the row of steps that no version descends from."""

_WAYS = ("marginal", "shared", "lineage")
_FIELDS = ("steps", "tokens", "flops", "device_hours", "training_hours", "money", "energy_kwh")


def version_costs_table(comparison: Comparison, *, for_terminal: bool = False) -> Table:
    """Return what every version costs for people. for_terminal: with times in the units that fit them."""
    amounts = _amounts(comparison, for_terminal)
    columns = [
        Column(header, format, unit=way, priority=priority + (field == "steps" and way != "marginal"))
        for field, header, format, priority in amounts
        for way in _WAYS
    ]
    labels = {(name, each.version): each.label for name, p in comparison.paradigms.items() for each in p.releases}
    rows = (
        (
            paradigm,
            labels.get((paradigm, version), version),
            *(_cell(costs[way], field) for field, *_ in amounts for way in _WAYS),
        )
        for paradigm, version, costs in _costs(comparison)
    )
    modelled = any(cost and cost.basis == "modelled" for *_, costs in _costs(comparison) for cost in costs.values())
    return Table(
        "what versions cost",
        (text_column("paradigm"), text_column("version"), *columns),
        tuple(rows),
        (WAYS_OF_COUNTING, *([legend(comparison.cost_model)] if modelled else [])),
    )


def version_costs_records(comparison: Comparison) -> Table:
    """Return what every version costs in raw values, one row per version and way of counting."""
    money = f"money_{comparison.plan.currency.lower()}" if comparison.plan.currency else "money"
    keys = ("paradigm", "version", "counted", *(money if field == "money" else field for field in _FIELDS), "basis")
    rows = (
        (paradigm, version, way, *(getattr(cost, field) for field in _FIELDS), tag(cost.device_hours, cost.basis))
        for paradigm, version, costs in _costs(comparison)
        for way, cost in costs.items()
        if cost is not None
    )
    return Table("what versions cost", tuple(map(Column, keys)), tuple(rows))


def _costs(comparison: Comparison) -> Iterator[tuple[str, str, Mapping[str, TaggedCost | None]]]:
    """Yield each version with its paradigm and its costs, keyed by marginal, shared and lineage."""
    for name, paradigm in comparison.paradigms.items():
        for release in paradigm.releases:
            yield name, release.version, {way: getattr(release.cost, way) for way in _WAYS}
        if (rest := paradigm.unreleased) is not None:
            yield name, UNRELEASED, {"marginal": rest, "shared": rest, "lineage": None}


def _amounts(comparison: Comparison, for_terminal: bool) -> list[tuple[str, str, Callable[[Any], str], int]]:
    """Return the field, header, format and priority of each amount; energy and money only where there is any."""
    currency = comparison.plan.currency
    metered = any(
        cost is not None and cost.energy_kwh is not None for *_, costs in _costs(comparison) for cost in costs.values()
    )
    allocated, training, hours = (
        ("device time", "training time", device_time) if for_terminal else ("device-hours", "training-hours", amount)
    )
    return [
        ("steps", "steps", _steps, 1),
        ("device_hours", allocated, hours, 0),
        ("training_hours", training, hours, 4),
        *([("money", currency, amount, 3)] if currency else []),
        *([("energy_kwh", "kWh", amount, 5)] if metered else []),
    ]


def _steps(value: float) -> str:
    """Return a number of steps; a share of steps need not be whole."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _cell(cost: TaggedCost | None, field: str) -> Any:
    if cost is None:
        return None
    value = getattr(cost, field)
    return value if field == "steps" else marked(value, cost.basis)
