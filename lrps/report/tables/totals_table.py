"""Table of the costs of paradigms, one row per paradigm: planned, measured, and in total."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lrps.base.numbers import amount, count, flops, loss, ratio, short
from lrps.costs.comparison import Comparison
from lrps.costs.paradigm_costs import ParadigmCosts
from lrps.report.table import Column, Table, text_column
from lrps.report.tables.paired_table import watching_notes
from lrps.report.tags import RATIOS, START_UP, legend, marked, tag

_Cell = Callable[[ParadigmCosts], Any]


def totals_table(comparison: Comparison) -> Table:
    """Return the costs of all paradigms: a total is measured if the paradigm was trained to its end, else modelled."""
    columns = list(_columns(comparison))
    return Table(
        f"{comparison.plan.name}: comparison",
        (text_column("paradigm"), *(column for column, _ in columns)),
        tuple((name, *(cell(paradigm) for _, cell in columns)) for name, paradigm in comparison.paradigms.items()),
        (legend(comparison.cost_model), RATIOS, START_UP, *watching_notes(comparison)),
    )


def _columns(comparison: Comparison) -> Iterator[tuple[Column, _Cell]]:
    """Yield each column with the value of a paradigm in it; money only where the config has a price."""
    yield from _planned(comparison.plan.currency)
    yield from _measured(comparison.plan.currency)
    newest = comparison.plan.versions[-1].name
    yield (
        Column(f"held-out loss of {newest}", loss, key="seen_loss_nats_per_token"),
        lambda paradigm: paradigm.releases[-1].seen_loss,
    )
    yield from _total(comparison.plan.currency)


def _planned(currency: str | None) -> Iterator[tuple[Column, _Cell]]:
    yield Column("planned steps", count, key="planned_steps"), lambda p: p.plan.cost.steps
    yield Column("planned tokens", short, key="planned_tokens"), lambda p: p.plan.cost.tokens
    yield Column("planned FLOPs", flops, key="planned_flops"), lambda p: p.plan.cost.flops
    yield Column("steps", ratio, unit="% of PTFS", key="planned_share_of_ptfs"), lambda p: p.plan.ratio_to_ptfs
    yield Column("steps", ratio, unit="% of CPT", key="planned_share_of_cpt"), lambda p: p.plan.ratio_to_cpt
    yield (
        Column("planned device-hours", amount, key="planned_device_hours"),
        lambda p: marked(p.plan.cost.device_hours, "modelled"),
    )
    if currency:
        yield (
            Column(f"planned {currency}", amount, key=f"planned_money_{currency.lower()}"),
            lambda p: marked(p.plan.cost.money, "modelled"),
        )


def _measured(currency: str | None) -> Iterator[tuple[Column, _Cell]]:
    def measured(field: str) -> _Cell:
        return lambda paradigm: getattr(paradigm.measured, field) if paradigm.measured else None

    yield Column("measured steps", count, key="measured_steps"), measured("total_steps")
    yield Column("repeated steps", count, key="measured_repeated_steps"), measured("repeated_steps")
    yield Column("allocated device-hours", amount, key="measured_device_hours"), measured("device_hours")
    yield Column("training device-hours", amount, key="measured_training_hours"), measured("training_hours")
    if currency:
        yield Column(f"measured {currency}", amount, key=f"measured_money_{currency.lower()}"), measured("money")
    yield Column("goodput", ratio, key="measured_goodput_share"), measured("goodput")
    yield (
        Column("training device-hours", ratio, unit="% of PTFS", key="measured_training_share_of_ptfs"),
        lambda paradigm: paradigm.ratios.training_to_ptfs,
    )
    yield (
        Column("allocated device-hours", ratio, unit="% of PTFS", key="measured_held_share_of_ptfs"),
        lambda paradigm: paradigm.ratios.allocated_to_ptfs,
    )


def _total(currency: str | None) -> Iterator[tuple[Column, _Cell]]:
    def total(field: str) -> _Cell:
        return lambda paradigm: marked(getattr(paradigm.whole, field), paradigm.whole.basis)

    yield Column("total device-hours", amount, key="total_device_hours"), total("device_hours")
    if currency:
        yield Column(f"total {currency}", amount, key=f"total_money_{currency.lower()}"), total("money")
    yield Column("total kWh", amount, key="total_energy_kwh"), total("energy_kwh")
    yield Column("basis", key="total_basis"), lambda p: tag(p.whole.device_hours, p.whole.basis)
