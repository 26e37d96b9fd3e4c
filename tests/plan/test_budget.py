"""The budget of a run: its arithmetic, and which ledgers it counts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lrps.config.models import Config
from lrps.ledger.totals import RecordedPrice, Totals
from lrps.ledger.writer import book_event
from lrps.plan.budget import Budget, budget_of, counted_ledgers, is_spent, rounded_up, spent
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import plan_status
from support.run_builder import small_run
from support.values import config_values

PRICED = {
    "device": "cpu",
    "price_per_device_hour": {"amount": 2.0, "currency": "EUR", "source": "us", "date": "2026-01-31"},
}
POSITIVE = st.floats(1e-9, 1e12)


def with_budget(plan: Plan, **budget: float) -> Plan:
    values = {**plan.config.model_dump(mode="json"), "hardware": PRICED, "budget": budget}
    return replace(plan, config=Config.model_validate(values))


@given(st.lists(st.tuples(st.sampled_from([None, "EUR", "USD"]), POSITIVE, POSITIVE), max_size=6), POSITIVE)
def test_each_attempt_costs_what_it_recorded_else_the_price_of_the_config(
    attempts: list[tuple[str | None, float, float]], price: float
) -> None:
    budget, money = Budget("budget.money", 1.0, "EUR", price), 0.0
    for currency, amount, hours in attempts:
        recorded = None if currency is None else RecordedPrice(amount, currency)
        charged = amount if currency == "EUR" else price
        cost = budget.of_attempts(Totals(prices={recorded: hours}))
        assert cost == pytest.approx(charged * hours)
        money += cost
    assert budget.of_attempts(Totals()) == 0.0
    assert budget.of_hours(sum(hours for *_, hours in attempts)) == pytest.approx(
        sum(price * hours for *_, hours in attempts)
    )


@given(POSITIVE)
def test_advice_is_enough_and_no_more_than_a_hundredth_too_much(units: float) -> None:
    advice = rounded_up(units)
    assert units <= advice <= units * 1.0101
    assert float(f"{advice:.3g}") == advice


def test_spent_is_what_status_shows_for_all_paths(tmp_path: Path) -> None:
    plan = small_run(tmp_path)
    hours = sum(status.totals.spent.allocated_seconds for status in plan_status(plan)) / 3600
    assert spent(plan, Budget("", 1.0, "device-hours", 1.0)) == hours


@pytest.fixture
def trained(make: Any, formulas: Any) -> Plan:
    """A plan of which two paths are trained, one of them after a failure."""
    plan: Plan = make(hardware=PRICED)
    formulas.Run(plan).train(["ptfs-v1", "cpt-v2"], fail_at={"cpt-v2": (700, 600)})
    return plan


def test_failed_attempts_and_paths_that_the_config_dropped_are_paid_for(trained: Plan) -> None:
    statuses = {status.path.name: status for status in plan_status(trained)}
    assert statuses["cpt-v2"].totals.attempts == 2
    hours = sum(status.totals.spent.allocated_seconds for status in statuses.values()) / 3600
    for budget, of_all in (({"device_hours": 7.0}, hours), ({"money": 7.0}, 2.0 * hours)):
        plan = with_budget(trained, **budget)
        stated = budget_of(plan.config)
        assert stated is not None
        assert spent(plan, stated) == pytest.approx(of_all)
        kept = {name: paradigm for name, paradigm in plan.config.paradigms.items() if name == "path-switching"}
        fewer = replace(plan, config=plan.config.model_copy(update={"paradigms": kept}))
        assert "cpt-v2" not in fewer.graph.by_name
        assert spent(fewer, stated) == pytest.approx(of_all)


def test_what_is_no_path_is_not_counted(trained: Plan) -> None:
    plan = with_budget(trained, device_hours=7.0)
    before, budget = spent(plan, budget_of(plan.config)), budget_of(plan.config)  # type: ignore[arg-type]
    book_event(plan.layout.ledger, "export", 7, 3600.0)
    shutil.copytree(plan.layout.path("ptfs-v1").directory, plan.layout.run_dir / "ptfs-v1.copy")
    again = replace(plan)  # It reads the directory once.
    assert spent(again, budget) == before  # type: ignore[arg-type]
    assert len(counted_ledgers(again)) == len(plan.graph.paths)


def test_a_budget_is_spent_when_nothing_of_it_is_left(trained: Plan) -> None:
    hours = spent(trained, Budget("", 1.0, "device-hours", 1.0))
    assert not is_spent(trained), "it has none"
    for share, is_it in ((1.0, True), (1.01, False), (0.5, True)):
        assert is_spent(with_budget(trained, device_hours=hours * share)) is is_it
        assert is_spent(with_budget(trained, money=2.0 * hours * share)) is is_it


@pytest.mark.parametrize(
    ("budget", "hardware", "fault"),
    [
        ({"money": 5.0}, None, "budget.money needs the price of a device-hour"),
        ({"money": 5.0}, {"device": "cpu"}, "hardware.price_per_device_hour"),
        ({"money": 5.0, "device_hours": 2.0}, PRICED, "exactly one of 'money' and 'device_hours'"),
        ({}, PRICED, "exactly one of 'money' and 'device_hours'"),
        ({"device_hours": 0.0}, None, "greater than 0"),
        ({"hours": 1.0}, None, "Extra inputs"),
    ],
)
def test_budgets_that_mean_nothing_are_refused(budget: Any, hardware: Any, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Config.model_validate(config_values(budget=budget, hardware=hardware))


def test_a_budget_is_no_part_of_any_identity() -> None:
    plain, limited = (
        make_plan(Config.model_validate(config_values(hardware=PRICED, **budget)))
        for budget in ({}, {"budget": {"money": 5.0}})
    )
    assert [plain.identity(path) for path in plain.graph.paths] == [
        limited.identity(path) for path in limited.graph.paths
    ]
    assert plain.training_sha256 == limited.training_sha256
