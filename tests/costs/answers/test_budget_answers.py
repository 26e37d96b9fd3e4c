"""Answers to a budget owner: against the lines of the ledgers, read without lrps, and laws of their arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lrps.costs.answers.bill import bill_of
from lrps.costs.compare import compare_runs
from lrps.costs.comparison import Comparison, make_comparison
from lrps.costs.plan_forecast import plan_forecast
from lrps.plan.status import begun_status, done_steps

PARADIGMS = {
    "path-switching": {"alpha": 0.6},
    "ptfs": {},
    "control": {"kind": "ptfs", "alpha": 0.6, "alpha_of": "increment"},
    "cpt": {},
}
FAILURE = {"branch-v2": (900, 800), "cpt-v3": (1400, 1250)}


@pytest.fixture
def uneven(make: Any, formulas: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A finished plan whose paths of CPT, and last path of PTFS, took several times as long for a step."""
    plan = make(paradigms=PARADIGMS, hardware=formulas.PRICED)
    slow = {"ptfs-v4": 2.3, "cpt-v2": 5.5, "cpt-v3": 8.1, "cpt-v4": 8.5}
    usual = formulas.SECONDS_A_STEP
    for path in plan.graph.paths:
        monkeypatch.setattr(formulas, "SECONDS_A_STEP", usual * slow.get(path.name, 1.0))
        formulas.Run(plan).train([path.name], fail_at=FAILURE)
    return plan


def last_lines(run_dir: Path, path: str) -> list[dict[str, Any]]:
    """Return the last line of every ledger file of a path."""
    return [json.loads(file.read_text().splitlines()[-1]) for file in sorted((run_dir / path / "ledger").iterdir())]


def sums(run_dir: Path, paths: list[str]) -> dict[str, float]:
    """Return the sums of the counters of some paths in device-seconds and steps."""
    counters = [line["counters"] for path in paths for line in last_lines(run_dir, path)]
    return {name: sum(each[name] or 0 for each in counters) for name in counters[0]}


def test_every_number_is_that_of_the_ledgers_lines(uneven: Any) -> None:
    comparison, run_dir, price = make_comparison(uneven), uneven.layout.run_dir, 2.0
    pace, answers = comparison.pace, comparison.answers
    own = ["main", "branch-v1", "branch-v2", "branch-v3", "branch-v4"]
    spent = sums(run_dir, own)
    counted = spent["steps"] - spent["repeated_steps"]
    step = spent["training_seconds"] / counted
    assert counted == 2900
    assert pace.device_seconds_per_step == pytest.approx(step)
    bill = answers.bill
    assert bill is not None
    assert bill.money == pytest.approx(spent["allocated_seconds"] / 3600 * price)
    assert bill.training_hours * 3600 == pytest.approx(spent["training_seconds"])
    assert bill.waste_hours * 3600 == pytest.approx(spent["starting_seconds"] + spent["repeating_seconds"])
    assert (bill.repeated_steps, bill.repeating_hours * 3600) == (100, pytest.approx(100 * step))
    costs = {way.name: (way.all_versions.money, way.next_version.money) for way in answers.ways}
    # Closed formulas for four versions of 500 steps and decays of 300.
    steps = {"path-switching": (2900, 800), "ptfs": (5000, 2500), "control": (5000, 2500), "cpt": (2000, 500)}
    assert costs == {
        name: tuple(pytest.approx(each * step / 3600 * price) for each in both) for name, both in steps.items()
    }
    everything = [directory.parent.name for directory in run_dir.glob("*/ledger")]
    assert answers.run_bill is not None
    assert answers.run_bill.money == pytest.approx(sums(run_dir, everything)["allocated_seconds"] / 3600 * price)
    slowest = sums(run_dir, ["cpt-v4"])["training_seconds"] / 500
    assert pace.spread == pytest.approx(slowest / step)


def test_ratios_at_one_speed_are_beside_those_as_it_ran(uneven: Any) -> None:
    ways = {way.name: way for way in make_comparison(uneven).answers.ways}
    assert (ways["cpt"].ratio_to_ptfs, ways["path-switching"].ratio_to_cpt) == (0.4, 1.45)
    ran = (500 + 500 * 5.5 + (500 + 150) * 8.1 + 500 * 8.5) / (3000 + 2000 * 2.3)
    assert ways["cpt"].measured_ratio_to_ptfs == pytest.approx(ran)
    assert ways["cpt"].unequal_to_ptfs
    assert ways["path-switching"].unequal_to_ptfs
    assert ways["path-switching"].unequal_to_cpt
    assert not ways["ptfs"].unequal_to_ptfs, "itself"
    assert ways["cpt"].slowness == pytest.approx((1 + 5.5 + 8.1 + 8.5) / 4)


def test_plan_and_report_agree_on_the_next_version(uneven: Any) -> None:
    answers = make_comparison(uneven).answers
    forecast = plan_forecast(uneven, done_steps(uneven), begun_status(uneven))
    assert forecast.measured is not None
    for way in answers.ways:
        planned = forecast.measured.next[way.name].cost
        assert (planned.device_hours, planned.money) == (way.next_version.device_hours, way.next_version.money)
        assert forecast.measured.paradigms[way.name].device_hours == way.all_versions.device_hours


def test_compare_says_that_speeds_were_unequal(uneven: Any, trained: Any) -> None:
    document, equal = compare_runs([uneven]), compare_runs([trained])
    assert document.runs[0].unequal_speed == make_comparison(uneven).pace.spread
    assert equal.runs[0].unequal_speed is None


def test_the_uses_add_up_and_the_paths_are_the_invoice(uneven: Any) -> None:
    comparison = make_comparison(uneven)
    run = comparison.answers.run_bill
    assert run is not None
    for bill in (comparison.answers.bill, run):
        assert bill is not None
        uses = (bill.training_hours, bill.evaluating_hours, bill.other_hours, bill.starting_hours, bill.repeating_hours)
        assert sum(uses) == pytest.approx(bill.device_hours)
    paths = {path.plan.name: path.measured for p in comparison.paradigms.values() for path in p.paths}
    bills = [bill_of(cost, {}) for name, cost in paths.items()]
    assert sum(bill.device_hours for bill in bills) == pytest.approx(run.device_hours)
    assert sum(bill.money or 0.0 for bill in bills) == pytest.approx(run.money)


def test_at_one_speed_the_ratios_as_it_ran_are_those_of_steps(trained: Any) -> None:
    comparison = make_comparison(trained)
    assert not comparison.pace.unequal
    ways = {way.name: way for way in comparison.answers.ways}
    assert ways["path-switching"].measured_ratio_to_ptfs == pytest.approx(ways["path-switching"].ratio_to_ptfs)
    for way in ways.values():
        assert way.slowness == pytest.approx(1)


def test_a_start_is_named_that_took_most_of_starting(make: Any, formulas: Any, monkeypatch: Any) -> None:
    plan = make(versions=2)
    monkeypatch.setattr(formulas, "STARTING_SECONDS", 90.0)
    formulas.Run(plan).train(["main"])
    monkeypatch.setattr(formulas, "STARTING_SECONDS", 10.0)
    formulas.Run(plan).train(["branch-v1", "branch-v2"])
    bill = make_comparison(plan).answers.bill
    assert bill is not None
    assert bill.longest_start == "main"
    assert bill.price_of(1.0) is None, "there is no price"


def test_without_ptfs_and_cpt_both_follow_from_the_formulas(make: Any, formulas: Any) -> None:
    plan = make(paradigms={"path-switching": {"alpha": 0.6}}, hardware=formulas.PRICED)
    formulas.Run(plan).train()
    answers = make_comparison(plan).answers
    found = {way.name: (way.in_plan, way.all_versions.steps, way.next_version.steps) for way in answers.ways}
    assert found == {"path-switching": (True, 2900, 800), "ptfs": (False, 5000, 2500), "cpt": (False, 2000, 500)}
    assert answers.base("ptfs").all_versions.money == pytest.approx(5000 * 0.036 / 3600 * 2.0)
    assert answers.main.measured_ratio_to_ptfs is None


def test_before_training_costs_are_those_of_the_hardware_or_unknown(make: Any, formulas: Any) -> None:
    unknown = make_comparison(make(name="unknown"))
    assert (unknown.pace.source, unknown.answers.main.all_versions.device_hours) == (None, None)
    assert (unknown.answers.bill, unknown.answers.complete) == (None, False)
    plan = make(hardware=formulas.PRICED | {"device": "H100"})
    planned: Comparison = make_comparison(plan)
    main = planned.answers.main.all_versions
    assert planned.pace.source == "hardware"
    assert main.device_hours == pytest.approx(planned.paradigms["path-switching"].plan.cost.device_hours)
    assert main.money == pytest.approx(planned.paradigms["path-switching"].plan.cost.money)
