"""Progress of the whole plan, as a process group shows it that trains alone."""

from __future__ import annotations

from dataclasses import dataclass

from lrps.base.numbers import amount, duration, ratio
from lrps.base.units import hours
from lrps.costs.remaining import steps_to_do
from lrps.launch.launchers.registry import launcher_of
from lrps.plan.plan import Plan
from lrps.plan.status import plan_status
from lrps.train.account import DeviceClock


@dataclass(frozen=True)
class PlanProgress:
    """Steps done of a plan and costs of it before a process group began to train."""

    steps: int
    """Number of steps of the plan."""
    done: int
    """Number of these steps that were trained before."""
    currency: str | None
    """Currency of the money; None without a price."""
    spent: float
    """Money that was spent before."""
    price_per_second: float
    """Price of a second of all processes of the group."""

    def text(self, trained: int, seconds: float) -> str:
        """Return the share of the plan that is done, the time to go and the money, for people.

        trained: number of steps that the group has trained in `seconds`.
        """
        done = self.done + trained
        share = f"{ratio(done / self.steps)} of the plan"
        if not trained:
            return share
        to_go = seconds / trained * (self.steps - done)
        timed = f"{share}, {duration(to_go)} to go"
        if self.currency is None:
            return timed
        now = self.spent + seconds * self.price_per_second
        return f"{timed}, {amount(now)} of about {amount(now + to_go * self.price_per_second)} {self.currency}"


def plan_progress(plan: Plan, clock: DeviceClock, processes: int) -> PlanProgress | None:
    """Return the progress of a plan before a process group trains; None if other groups may train at the same time.

    clock: that of the group. processes: number of its processes.
    """
    if launcher_of(plan.config.launch).concurrent:
        return None
    statuses, price, currency = plan_status(plan), plan.costs.price_per_device_hour or 0.0, plan.costs.currency
    spent = sum(status.totals.money_in(currency, price) or 0.0 for status in statuses) if currency else 0.0
    per_second = hours(price * processes)
    left = sum(map(steps_to_do, statuses))
    total = plan.graph.total_steps
    return PlanProgress(total, total - left, currency, spent + clock.waiting_seconds * per_second, per_second)
