"""The budget of a run, in one unit, and what its ledgers say is spent of it. Imports no torch.

Spent is the allocated device time of all attempts at all paths, evaluations and failed attempts included: of the paths
of the plan, and of those in the run directory that the config no longer has. Writing rehearsal sets, exports and scores
are in the run's own ledger and not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from pathlib import Path

from lrps.config.models import Config
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import Totals, total
from lrps.plan.plan import Plan

DEVICE_HOURS = "device-hours"


@dataclass(frozen=True)
class Budget:
    """Most that a run may spend."""

    key: str
    """Key of the config that sets it."""
    limit: float
    """Number of units."""
    unit: str
    """`device-hours`, or the currency of the config's price."""
    price: float
    """Units that a device-hour costs for which no price in this unit was recorded; 1 for device-hours."""

    def of_hours(self, device_hours: float) -> float:
        """Return the units that some device-hours cost at the price of the config."""
        return device_hours * self.price

    def of_attempts(self, totals: Totals) -> float:
        """Return the units that attempts have cost, each at the price that it recorded in this unit."""
        if self.unit == DEVICE_HOURS:
            return totals.spent.allocated_seconds / 3600
        return totals.money_in(self.unit, self.price) or 0.0


def budget_of(config: Config) -> Budget | None:
    """Return the budget of a config; None if it has none."""
    stated, hardware = config.budget, config.hardware
    if stated is None:
        return None
    if stated.device_hours is not None:
        return Budget("budget.device_hours", stated.device_hours, DEVICE_HOURS, 1.0)
    assert stated.money is not None
    assert hardware is not None
    assert hardware.price_per_device_hour is not None, "the config was validated"
    price = hardware.price_per_device_hour
    return Budget("budget.money", stated.money, price.currency, price.amount)


def counted_ledgers(plan: Plan) -> tuple[Path, ...]:
    """Return the folders of the ledgers that a budget counts, whether they exist yet or not."""
    dropped = (name for name, path in plan.existing.items() if path.name == name)
    names = dict.fromkeys((*plan.graph.by_name, *dropped))
    return tuple(plan.layout.path(name).ledger for name in names)


def spent(plan: Plan, budget: Budget) -> float:
    """Return the units that are spent. Raises LedgerError for a ledger that was changed."""
    ledgers = (ledger for ledger in counted_ledgers(plan) if ledger.is_dir())
    return sum(budget.of_attempts(total(read_ledger(ledger, heartbeats=False))) for ledger in ledgers)


def is_spent(plan: Plan) -> bool:
    """Return True if the plan has a budget and all of it is spent. Raises LedgerError for a ledger that was changed."""
    budget = budget_of(plan.config)
    return budget is not None and spent(plan, budget) >= budget.limit


def rounded_up(units: float) -> float:
    """Return the next number of three digits that is no smaller: advice that is enough when it is followed."""
    return float(Context(prec=3, rounding=ROUND_CEILING).create_decimal_from_float(units))
