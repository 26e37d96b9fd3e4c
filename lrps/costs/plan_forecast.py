"""The plan as `lrps plan` shows it: also at the speed that the run has measured, with what is left of the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from lrps.base.document import INLINE, OPTIONAL, UNLESS_NONE
from lrps.costs.answers.pace import main_paradigm, pace_of
from lrps.costs.budget_state import BudgetState, budget_state
from lrps.costs.forecasts.planned_loss import PlannedLoss
from lrps.costs.measured_cost import sum_measured
from lrps.costs.planned.plan_document import AddedCost, ParadigmPlan, PlanDocument, PlannedCost, plan_document
from lrps.costs.remaining import MeasuredSpeed, measured_speed
from lrps.paths.cost import Cost
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus


@dataclass(frozen=True)
class MeasuredPlan:
    """Costs of a plan at the one speed of the run, as in its report.

    Wall-clock hours are those with the processes of the newest attempt.
    """

    speed: MeasuredSpeed
    """The one speed of the run, of optimizer steps alone, that the device-hours are computed with."""
    paradigms: Mapping[str, PlannedCost]
    """Cost of each paradigm alone."""
    marginal: Mapping[str, AddedCost] | None
    """Cost that the last version adds to each paradigm; null for a plan of one version."""
    next: Mapping[str, AddedCost]
    """Cost that one more version, of the size of the last one, would add to each paradigm."""
    graph: PlannedCost
    """Cost of all paths, each counted once."""
    to_do: PlannedCost
    """Cost of the steps that are not trained yet."""


@dataclass(frozen=True)
class PlanForecast:
    """A plan by its config, its costs at the speed that the run has measured, and the state of its budget."""

    FORMAT: ClassVar[str] = "lrps-plan/1"
    plan: PlanDocument = field(metadata=INLINE)
    """Plan with the costs of the config's hardware."""
    measured: MeasuredPlan | None = field(default=None, metadata=OPTIONAL)
    """Costs at the measured speed; null before the first step."""
    budget: BudgetState | None = field(default=None, metadata=OPTIONAL)
    """State of the budget; null if the config has none."""
    losses: Mapping[str, PlannedLoss] | None = field(default=None, metadata=UNLESS_NONE)
    """Held-out loss of the version that a branch releases, measured or forecast, by the name of the branch; the key is
    absent where no main path was evaluated."""


def plan_forecast(plan: Plan, done_steps: Mapping[str, int], begun: Sequence[PathStatus]) -> PlanForecast:
    """Return the forecast of a plan. done_steps: as in `plan_document`. begun: status of the paths that have a ledger.

    Raises LedgerError for a ledger that was changed.
    """
    speed, document = measured_speed(begun), plan_document(plan, done_steps)
    # The budget also pays for saves and evaluations, which the one speed of the report leaves out.
    budget = budget_state(plan, document.to_do.steps, speed)
    losses = _losses(plan, begun)
    if speed is None or (seconds := _step_seconds(plan, begun)) is None:
        return PlanForecast(document, None, budget, losses)
    one = replace(speed, device_seconds_per_step=seconds)
    return PlanForecast(document, _measured(at_speed(plan, document, one), one), budget, losses)


def _losses(plan: Plan, begun: Sequence[PathStatus]) -> dict[str, PlannedLoss] | None:
    """Return the losses of the branches of a plan; None where no main path was evaluated."""
    if not any(status.path.kind == "main" and status.evaluations for status in begun):
        return None
    # Only a run that was begun needs it.
    from lrps.costs.forecasts.plan_losses import losses_of_plan

    return losses_of_plan(plan, begun) or None


def _step_seconds(plan: Plan, begun: Sequence[PathStatus]) -> float | None:
    """Return the device-seconds of a step at the one speed of the run, as its report has it."""
    from lrps.costs.path_spending import RunRecords  # Only a run that was begun needs these modules.

    run = RunRecords.of(plan, begun)
    costs = {status.path.name: run.spending(status.path).measured for status in begun}
    name = main_paradigm({paradigm.name: paradigm.kind for paradigm in plan.graph.paradigms})
    paths = next(paradigm.paths for paradigm in plan.graph.paradigms if paradigm.name == name)
    mean = sum_measured(run.spending(path).measured for path in paths if path.name in costs)
    return pace_of(costs, name, [path.name for path in paths], mean, None).device_seconds_per_step


def _measured(document: PlanDocument, speed: MeasuredSpeed) -> MeasuredPlan:
    costs = {name: paradigm.cost for name, paradigm in document.paradigms.items()}
    return MeasuredPlan(speed, costs, document.marginal, document.next, document.graph.cost, document.to_do)


def at_speed(plan: Plan, document: PlanDocument, speed: MeasuredSpeed) -> PlanDocument:
    """Return the document of a plan with the device-hours and the money of a measured speed."""
    price = plan.costs.price_per_device_hour

    def of_path(cost: Cost) -> Cost:
        hours = speed.hours(cost.steps)
        return replace(cost, device_hours=hours, money=None if price is None else hours * price)

    def planned(cost: PlannedCost) -> PlannedCost:
        at = of_path(plan.costs.of(cost.steps))
        hours = cost.steps * speed.seconds_per_step / 3600
        return replace(cost, device_hours=at.device_hours, wall_clock_hours=hours, money=at.money)

    def added(costs: Mapping[str, AddedCost]) -> dict[str, AddedCost]:
        return {name: replace(each, cost=planned(each.cost)) for name, each in costs.items()}

    def paradigm(each: ParadigmPlan) -> ParadigmPlan:
        paths = tuple(replace(path, cost=of_path(path.cost)) for path in each.paths)
        return replace(each, cost=planned(each.cost), paths=paths)

    return replace(
        document,
        paradigms={name: paradigm(each) for name, each in document.paradigms.items()},
        marginal=None if document.marginal is None else added(document.marginal),
        next=added(document.next),
        graph=replace(document.graph, cost=planned(document.graph.cost)),
        to_do=planned(document.to_do),
    )
