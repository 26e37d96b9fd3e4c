"""What `lrps plan` and `lrps run` say of a budget, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import NEEDS_DECISION, BudgetError
from lrps.config.hardware import BudgetConfig
from lrps.costs.budget_state import BudgetState, budget_refusal, budget_state, check_budget
from lrps.costs.plan_forecast import at_speed, plan_forecast
from lrps.costs.planned.plan_document import plan_document
from lrps.costs.remaining import MeasuredSpeed, measured_speed, measured_speeds, remaining_cost, steps_to_do
from lrps.plan.plan import Plan
from lrps.plan.status import begun_status, done_steps, plan_status
from lrps.report.forecast_lines import budget_line, forecast_lines

AMOUNTS = st.floats(0, 1e9)


def state_of(budget: float, spent: float, to_do: float | None) -> BudgetState:
    return BudgetState(
        "budget.money", "EUR", budget, spent, budget - spent, to_do, None if to_do is None else "measured"
    )


@given(st.floats(1e-6, 1e9), AMOUNTS, st.none() | AMOUNTS)
def test_what_is_spent_and_left_must_fit_and_something_must_remain(
    budget: float, spent: float, to_do: float | None
) -> None:
    state = state_of(budget, spent, to_do)
    enough = spent < budget and (to_do or 0.0) <= budget - spent
    assert state.is_enough == enough
    if enough:
        check_budget(state)
        return
    with pytest.raises(BudgetError) as raised:
        check_budget(state)
    assert raised.value.exit_code == NEEDS_DECISION == 76


@given(st.floats(1e-3, 1e9), st.floats(1e-3, 1e9))
def test_the_advice_is_enough_when_it_is_followed(spent: float, to_do: float) -> None:
    advice = budget_refusal(state_of(1e-4, spent, to_do)).partition("raise budget.money to ")[2].split()[0]
    assert "e" not in advice
    check_budget(state_of(float(advice) * (1 + 1e-12), spent, to_do))


def test_without_a_budget_nothing_is_refused(make: Any) -> None:
    assert budget_state(make(), 100, None) is None
    check_budget(None)


@pytest.fixture
def half(make: Any, formulas: Any) -> Plan:
    """A plan with a price, in which PTFS is trained and the rest is not."""
    plan: Plan = make(hardware={**formulas.PRICED, "peak_tflops": 1e-3})
    formulas.Run(plan).train([f"ptfs-v{k}" for k in (1, 2, 3, 4)])
    return plan


def limited(plan: Plan, **budget: float) -> Plan:
    return replace(plan, config=plan.config.model_copy(update={"budget": BudgetConfig(**budget)}))


def test_the_plan_is_at_the_speed_of_its_status(half: Plan) -> None:
    statuses = plan_status(half)
    pooled = measured_speed(begun_status(half))
    assert pooled is not None
    assert (pooled.device, pooled.processes) == ("cpu", 2)
    forecast = plan_forecast(half, done_steps(half), begun_status(half))
    to_come = remaining_cost(half, sum(map(steps_to_do, statuses)), measured_speeds(statuses))
    assert forecast.measured is not None
    speed = forecast.measured.speed
    assert speed.device_seconds_per_step == pytest.approx(0.036), "without the saves that the pooled speed includes"
    assert pooled.device_seconds_per_step > 0.036
    to_do = forecast.measured.to_do
    assert forecast.plan == plan_document(half, done_steps(half)), "that is the config's"
    assert to_do.steps == to_come.steps
    assert to_come.basis == "measured"
    assert to_do.wall_clock_hours == pytest.approx(to_do.device_hours / 2)  # type: ignore[operator]
    costs = [each.cost for each in forecast.measured.next.values()]
    costs += [*forecast.measured.paradigms.values(), forecast.measured.graph]
    assert all(cost.device_hours == pytest.approx(speed.hours(cost.steps)) for cost in costs)
    shown = at_speed(half, forecast.plan, speed)
    paths = [path for paradigm in shown.paradigms.values() for path in paradigm.paths]
    assert all(path.cost.device_hours == pytest.approx(speed.hours(path.cost.steps)) for path in paths)


def test_before_the_first_step_the_plan_is_that_of_the_config(make: Any, formulas: Any) -> None:
    plan = make(hardware={**formulas.PRICED, "peak_tflops": 1e-3})
    forecast = plan_forecast(plan, {}, ())
    assert forecast.plan.graph.cost.device_hours == plan.costs.of(plan.graph.total_steps).device_hours
    assert forecast.measured is None
    assert forecast_lines(forecast) == [
        "Device time is at the config's hardware: no step of this plan has been measured yet."
    ]
    assert forecast_lines(plan_forecast(make(), {}, ())) == [], "nothing is known of it"


@pytest.mark.parametrize("unit", ["money", "device_hours"])
def test_the_state_says_what_is_left(half: Plan, unit: str) -> None:
    speed, statuses = MeasuredSpeed("cpu", 2, 0.036), plan_status(half)
    price = 2.0 if unit == "money" else 1.0
    spent = price * sum(status.totals.spent.allocated_seconds for status in statuses) / 3600
    state = budget_state(limited(half, **{unit: spent + price}), 1000, speed)
    assert state is not None
    assert (state.unit, state.basis) == ("EUR" if unit == "money" else "device-hours", "measured")
    assert (state.spent, state.remaining) == (pytest.approx(spent), pytest.approx(price))
    assert state.to_do == pytest.approx(price * 1000 * 0.036 / 3600)
    modelled = budget_state(limited(half, **{unit: 1.0}), 1000, None)
    assert modelled is not None
    assert modelled.basis == "modelled"
    assert modelled.to_do == pytest.approx(price * half.costs.of(1000).device_hours)


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (state_of(10, 4, None), "Budget: 4 of 10 EUR are spent (40.0%), 6 remain."),
        (
            state_of(10, 4, 7.5),
            "Budget: 4 of 10 EUR are spent (40.0%), 6 remain; what is left takes about 7.5 (measured).",
        ),
        (state_of(10, 12.5, 7.5), "Budget: 12.5 of 10 EUR are spent (125.0%), 2.5 beyond it."),
    ],
)
def test_lines(state: BudgetState, line: str) -> None:
    assert budget_line(state) == line


def test_refusals_say_what_to_raise_it_to() -> None:
    assert budget_refusal(state_of(10, 10, None)) == (
        "10 of 10 EUR are spent; raise budget.money above 10 and run the same command again"
    )
    assert budget_refusal(state_of(10, 4, 1234.5)) == (
        "4 of 10 EUR are spent and what is left takes about 1,234 more (measured); raise budget.money to 1240 or more, "
        "or train less of the plan"
    )
