"""The plan as `lrps plan` shows it: at the speed that the run has measured, with what is left of the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lrps.base.document import INLINE, OPTIONAL
from lrps.costs.budget_state import BudgetState, budget_state
from lrps.costs.plan_document import PlanDocument, plan_document
from lrps.costs.remaining import MeasuredSpeed, measured_speed
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus


@dataclass(frozen=True)
class PlanForecast:
    """A plan with the speed that its costs are computed with, and with the state of its budget."""

    FORMAT: ClassVar[str] = "lrps-plan/1"
    plan: PlanDocument = field(metadata=INLINE)
    """Plan with all its costs at that speed."""
    measured_speed: MeasuredSpeed | None = field(default=None, metadata=OPTIONAL)
    """Speed that all device-hours of the plan are computed with; null before the first step: then they are those of the
    config's hardware."""
    budget: BudgetState | None = field(default=None, metadata=OPTIONAL)
    """State of the budget; null if the config has none."""


def plan_forecast(plan: Plan, done_steps: Mapping[str, int], begun: Sequence[PathStatus]) -> PlanForecast:
    """Return the forecast of a plan. done_steps: as in `plan_document`. begun: status of the paths that have a ledger.

    Raises LedgerError for a ledger that was changed.
    """
    speed = measured_speed(begun)
    document = plan_document(plan, done_steps, speed)
    return PlanForecast(document, speed, budget_state(plan, document.to_do.steps, speed))
