"""Measured cost of a path, and of several paths together, from their ledgers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from lrps.base.document import OPTIONAL
from lrps.base.units import hours
from lrps.ledger.totals import Totals
from lrps.plan.plan import Plan

JOULES_PER_KWH = 3.6e6

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class MeasuredCost:
    """Cost of all attempts at a path or at several paths, up to the newest record of their ledgers."""

    attempts: int
    """Number of attempts."""
    device: str
    """Name of the device of the newest attempt; of several paths, the different names, separated by commas."""
    processes: int
    """Number of processes of the newest attempt; of several paths, the largest."""
    total_steps: int
    """Number of optimizer steps reached, each counted once."""
    repeated_steps: int
    """Number of optimizer steps that were lost and then trained again or abandoned."""
    total_tokens: int
    """Number of tokens of the steps reached, each counted once."""
    spent_tokens: int
    """Number of tokens of all steps, repeated ones included; the sum of the four kinds below and `skipped_tokens`."""
    unique_tokens: int
    """Number of tokens that the lineage had not trained on before."""
    replayed_tokens: int
    """Number of tokens of older versions that the lineage had trained on before."""
    rehearsal_tokens: int
    """Number of tokens of rehearsal sets."""
    repeated_tokens: int
    """Number of tokens of repeated steps."""
    spent_flops: int | None
    """Model FLOPs of `spent_tokens`; null if the FLOPs per token of the model are unknown."""
    device_hours: float
    """Allocated device-hours: wall-clock hours times processes."""
    training_hours: float
    """Device-hours in optimizer steps, repeated ones included."""
    productive_hours: float
    """Device-hours in optimizer steps that were not lost."""
    device_hours_by_use: Mapping[str, float]
    """Device-hours by use (training, evaluating, saving, ...); the sum is `device_hours`."""
    goodput: float | None
    """`productive_hours` over `device_hours`; null before the first step."""
    money: float | None
    """Price of `device_hours` in the currency of the config; null if there is no price."""
    money_basis: str | None
    """`--price` if the command line states the price, else `recorded` if every attempt recorded a price in that
    currency, else `config`; null without a currency."""
    energy_kwh: float | None
    """Energy in kWh; null unless the devices of every attempt metered it."""
    skipped_steps: int = field(default=0, metadata=OPTIONAL)
    """Number of optimizer steps, each counted once, that passed without an update."""
    skipped_tokens: int = field(default=0, metadata=OPTIONAL)
    """Number of their tokens that would have been unique."""
    spikes: int = field(default=0, metadata=OPTIONAL)
    """Number of other optimizer steps that the guard judged spikes."""
    frequent_skips: int = field(default=0, metadata=OPTIONAL)
    """Number of the last 1,000 steps that the guard has let pass without an update; 0 if it is at most 1 % of them."""

    @property
    def noticed(self) -> str | None:
        """Description of the steps that passed without an update and of the spikes; None if there are none."""
        steps = "step" if self.skipped_steps == 1 else "steps"
        found = [
            f"{self.skipped_steps} {steps} passed without an update" if self.skipped_steps else None,
            f"{self.spikes} {'spike' if self.spikes == 1 else 'spikes'} trained on" if self.spikes else None,
        ]
        return ", ".join(filter(None, found)) or None


def measured_cost(plan: Plan, totals: Totals) -> MeasuredCost:
    """Return the cost of all attempts at one path.

    An attempt that recorded no price, or one in another currency, is charged at the price of the config.
    """
    spent = totals.spent
    money, basis = _money(plan, totals)
    return MeasuredCost(
        attempts=totals.attempts,
        device=totals.device,
        processes=totals.processes,
        total_steps=totals.useful_steps,
        repeated_steps=totals.repeated_steps,
        total_tokens=totals.useful_steps * plan.config.tokens_per_step,
        spent_tokens=spent.tokens,
        unique_tokens=totals.unique_tokens,
        replayed_tokens=spent.replayed_tokens,
        rehearsal_tokens=spent.rehearsal_tokens,
        repeated_tokens=spent.repeated_tokens,
        spent_flops=spent.flops if plan.costs.flops_per_token is not None else None,
        device_hours=spent.allocated_seconds / 3600,
        training_hours=(spent.training_seconds + spent.repeating_seconds) / 3600,
        productive_hours=totals.productive_seconds / 3600,
        device_hours_by_use={use: seconds / 3600 for use, seconds in totals.uses.items()},
        goodput=totals.goodput,
        money=money,
        money_basis=basis,
        energy_kwh=None if spent.energy_joules is None else spent.energy_joules / JOULES_PER_KWH,
        skipped_steps=len(totals.skipped),
        skipped_tokens=totals.skipped_unique_tokens,
        spikes=len(totals.spikes),
        frequent_skips=totals.frequent_skips,
    )


def _money(plan: Plan, totals: Totals) -> tuple[float | None, str | None]:
    """Return the amount in the currency of the config, and its basis."""
    if plan.costs.currency is None:
        return None, None
    if plan.stated_price is not None:
        return hours(totals.spent.allocated_seconds) * plan.stated_price.amount, plan.stated_price.source
    basis = "recorded" if totals.currency == plan.costs.currency else "config"
    return totals.money_in(plan.costs.currency, plan.costs.price_per_device_hour), basis


def sum_measured(costs: Iterable[MeasuredCost]) -> MeasuredCost | None:
    """Return the cost of several paths together; None before the first attempt at any of them."""
    begun = [cost for cost in costs if cost.attempts]
    if not begun:
        return None
    uses = Counter[str]()
    for cost in begun:
        uses.update(cost.device_hours_by_use)
    device_hours = sum(cost.device_hours for cost in begun)
    productive_hours = sum(cost.productive_hours for cost in begun)
    return MeasuredCost(
        attempts=sum(cost.attempts for cost in begun),
        device=_joined(cost.device for cost in begun),
        processes=max(cost.processes for cost in begun),
        total_steps=sum(cost.total_steps for cost in begun),
        repeated_steps=sum(cost.repeated_steps for cost in begun),
        total_tokens=sum(cost.total_tokens for cost in begun),
        spent_tokens=sum(cost.spent_tokens for cost in begun),
        unique_tokens=sum(cost.unique_tokens for cost in begun),
        replayed_tokens=sum(cost.replayed_tokens for cost in begun),
        rehearsal_tokens=sum(cost.rehearsal_tokens for cost in begun),
        repeated_tokens=sum(cost.repeated_tokens for cost in begun),
        spent_flops=_sum_if_all_known(cost.spent_flops for cost in begun),
        device_hours=device_hours,
        training_hours=sum(cost.training_hours for cost in begun),
        productive_hours=productive_hours,
        device_hours_by_use=dict(uses),
        goodput=productive_hours / device_hours if device_hours else None,
        money=_sum_if_all_known(cost.money for cost in begun),
        money_basis=_joined(cost.money_basis for cost in begun if cost.money_basis) or None,
        energy_kwh=_sum_if_all_known(cost.energy_kwh for cost in begun),
        skipped_steps=sum(cost.skipped_steps for cost in begun),
        skipped_tokens=sum(cost.skipped_tokens for cost in begun),
        spikes=sum(cost.spikes for cost in begun),
    )


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))


def _sum_if_all_known(values: Iterable[_Number | None]) -> _Number | None:
    """Return the sum, or None if a value is unknown."""
    total: _Number = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
