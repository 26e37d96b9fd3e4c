"""Sentences about the costs of a plan: the speed that they are computed with, and what is left of the budget."""

from __future__ import annotations

from lrps.base.numbers import amount, count, device_time, ratio
from lrps.costs.budget_state import BudgetState
from lrps.costs.plan_forecast import PlanForecast


def forecast_lines(forecast: PlanForecast) -> list[str]:
    """Return the sentences of a forecast; none where device-hours are not known and there is no budget."""
    budget = [] if forecast.budget is None else [budget_line(forecast.budget)]
    return [*_speed_lines(forecast), *budget]


def _speed_lines(forecast: PlanForecast) -> list[str]:
    if forecast.measured is not None:
        speed = forecast.measured.speed
        step = device_time(speed.seconds_per_step / 3600)
        processes = f"{count(speed.processes)} process{'' if speed.processes == 1 else 'es'}"
        return [
            f"Device time is at the measured {step} a step ({processes}, {speed.device}), as in the report: saves, "
            "evaluations and start-up come on top."
        ]
    if forecast.plan.graph.cost.device_hours is None:
        return []
    return ["Device time is at the config's hardware: no step of this plan has been measured yet."]


def budget_line(state: BudgetState) -> str:
    """Return what is spent of a budget, what remains, and what is left to do."""
    spent = f"Budget: {amount(state.spent)} of {amount(state.budget)} {state.unit} are spent"
    share = f" ({ratio(state.spent / state.budget)})"
    if state.remaining < 0:
        return f"{spent}{share}, {amount(-state.remaining)} beyond it."
    left = "" if state.to_do is None else f"; what is left takes about {amount(state.to_do)} ({state.basis})"
    return f"{spent}{share}, {amount(state.remaining)} remain{left}."
