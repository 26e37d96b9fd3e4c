"""The table of what versions cost, one row a version of a paradigm: for the terminal, CSV, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lrps.base.numbers import NOT_APPLICABLE, amount
from lrps.costs.comparison import Comparison
from lrps.costs.tagged_cost import TaggedCost
from lrps.report.tags import START_UP, tag, tagged

TITLE = "what versions cost"
KEYS = ("marginal", "shared", "lineage")
EXPLAINED = (
    "marginal: what the version added to those before it. shared: every step in equal parts to all versions that "
    "descend from it. lineage: all steps from the first one to its release, what it would cost alone. Marginal costs "
    f"of a paradigm add up to all of it; so do shared ones. {START_UP}"
)
UNRELEASED = "(no version)"
"""The row of steps that no version descends from."""

Cost = TaggedCost


def _rows(comparison: Comparison) -> Iterator[tuple[str, str, Mapping[str, Cost | None]]]:
    """(paradigm, version, its costs)"""
    for name, paradigm in comparison.paradigms.items():
        for release in paradigm.releases:
            cost = release.cost
            yield name, release.version, {"marginal": cost.marginal, "shared": cost.shared, "lineage": cost.lineage}
        if (rest := paradigm.unreleased) is not None:
            yield name, UNRELEASED, {"marginal": rest, "shared": rest, "lineage": None}


def _columns(comparison: Comparison) -> list[tuple[str, str, Callable[[Any], str]]]:
    """(key of a cost, title, how it is shown); energy and money where any version has one."""
    currency = comparison.plan.currency
    costs = [cost for _, _, of_version in _rows(comparison) for cost in of_version.values() if cost is not None]
    metered = any(cost.energy_kwh is not None for cost in costs)
    return [
        ("steps", "steps", _steps),
        ("device_hours", "device-hours", amount),
        ("training_hours", "training-hours", amount),
        *([("money", currency, amount)] if currency else []),
        *([("energy_kwh", "kWh", amount)] if metered else []),
    ]


def _steps(value: float) -> str:
    """A share of steps need not be whole."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def shown(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Titles and rows for people."""
    columns = _columns(comparison)
    head = ["paradigm", "version", *(f"{title}, {key}" for _, title, _ in columns for key in KEYS)]
    rows = []
    for paradigm, version, costs in _rows(comparison):
        cells = (_cell(costs[key], field, show) for field, _, show in columns for key in KEYS)
        rows.append([paradigm, version, *cells])
    return head, rows


def _cell(cost: Cost | None, field: str, show: Callable[[Any], str]) -> str:
    if cost is None:
        return NOT_APPLICABLE
    return show(getattr(cost, field)) if field == "steps" else tagged(show(getattr(cost, field)), cost.basis)


def records(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Names of columns, units included, and rows at full precision: one a version and way of counting."""
    unit = f"_{comparison.plan.currency.lower()}" if comparison.plan.currency else ""
    fields = ("steps", "tokens", "flops", "device_hours", "training_hours", "money", "energy_kwh")
    head = ["paradigm", "version", "counted", *(f"money{unit}" if f == "money" else f for f in fields), "basis"]
    rows = []
    for paradigm, version, costs in _rows(comparison):
        for key, cost in costs.items():
            if cost is not None:
                values = [NOT_APPLICABLE if (value := getattr(cost, field)) is None else value for field in fields]
                rows.append([paradigm, version, key, *values, tag(cost.device_hours, cost.basis)])
    return head, rows
