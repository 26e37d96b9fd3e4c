"""The watch over the budget: what it counts while an attempt is under way, and what training does when it is spent."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import BudgetError
from lrps.config.hardware import BudgetConfig
from lrps.config.loader import load_config
from lrps.ledger.metrics import read_metrics
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.paths.usage import Usage
from lrps.plan.plan import Plan, make_plan
from lrps.plan.status import path_status
from lrps.store.checkpoints import find
from lrps.store.identity import read_identity
from lrps.store.marks import MARK
from lrps.train.account import Account, DeviceClock, Rate
from lrps.train.watches import budget_watch
from lrps.train.watches.budget_watch import BudgetWatch
from support.plain_engine import run
from support.run_builder import small_plan


def limited(plan: Plan, device_hours: float) -> Plan:
    return replace(plan, config=plan.config.model_copy(update={"budget": BudgetConfig(device_hours=device_hours)}))


def begin(plan: Plan, name: str, device_hours: float) -> LedgerWriter:
    """Begin an attempt at a path that has spent so much."""
    ledger = LedgerWriter(plan.layout.path(name).ledger)
    facts: dict[str, Any] = {"format": FORMAT, "path": name, "path_start": 0, "device": "cpu", "processes": 1}
    ledger.append("start", 0, Counters(allocated_seconds=3600 * device_hours), **facts)
    return ledger


def account_of(device_hours: float, processes: int = 2) -> Account:
    """Return the account of an attempt whose processes were launched so long ago."""
    began = time.monotonic() - 3600 * device_hours / processes
    return Account(Rate(64, None, processes), DeviceClock(began), lambda _: Usage(), 0)


def watch_of(plan: Plan) -> BudgetWatch:
    watch = BudgetWatch.of(plan)
    assert watch is not None
    return watch


def test_there_is_none_without_a_budget(tmp_path: Path) -> None:
    assert BudgetWatch.of(small_plan(tmp_path)) is None


@pytest.mark.parametrize(("budget", "is_spent"), [(3.9, True), (4.1, False)])
def test_ledgers_and_the_attempt_under_way_count_once(tmp_path: Path, budget: float, is_spent: bool) -> None:
    """An hour of another path, an hour of an earlier attempt at this one, and two hours of this one, one recorded."""
    plan = limited(small_plan(tmp_path), budget)
    begin(plan, "ptfs-v1", 1.0).close()
    begin(plan, "main", 1.0).close()
    account = account_of(1.0)
    ledger = begin(plan, "main", account.counters().allocated_seconds / 3600)
    account._since -= 1800  # An hour of two processes later.
    watch = watch_of(plan)
    assert watch.is_spent(account) is is_spent
    assert watch.seen is is_spent
    ledger.close()


def test_time_passes_between_two_readings(tmp_path: Path) -> None:
    watch, account = watch_of(limited(small_plan(tmp_path), 1.0)), account_of(0.9)
    assert not watch.is_spent(account)
    account._since -= 3600 * 0.06
    assert watch.is_spent(account), "0.9 and 0.12 device-hours"


def test_what_other_groups_record_is_seen_at_the_next_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = limited(small_plan(tmp_path), 2.0)
    watch, account = watch_of(plan), account_of(0.5)
    other = begin(plan, "ptfs-v1", 1.0)
    assert not watch.is_spent(account)
    other.append("heartbeat", 1, Counters(allocated_seconds=3600 * 1.6), loss=1.0)
    assert not watch.is_spent(account), "ledgers are read every few seconds"
    assert watch.is_spent(account_of(0.5)), "and when an attempt begins"
    monkeypatch.setattr(budget_watch, "_SECONDS", 0.0)
    again = watch_of(plan)
    assert again.is_spent(account)
    other.close()


def test_a_damaged_ledger_of_another_path_ends_nothing(tmp_path: Path) -> None:
    plan = limited(small_plan(tmp_path), 1.0)
    begin(plan, "ptfs-v1", 0.5).close()
    (plan.layout.path("ptfs-v1").ledger / "notes.jsonl").touch()
    assert not watch_of(plan).is_spent()


@pytest.fixture
def plan(tiny_config: Path, tmp_path: Path) -> Plan:
    return make_plan(load_config(tiny_config, [f"runs={tmp_path}"]))


def test_training_saves_stops_and_continues_once_the_budget_is_raised(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="everything is saved"):
        run(limited(plan, 1e-9), "main", "cpt-v1")
    status = path_status(plan, plan.graph.by_name["main"])
    assert (status.state, status.step) == ("interrupted", 1), "it was stopped at the first sync"
    with pytest.raises(BudgetError):
        run(limited(plan, 1e-9), "main")
    assert path_status(plan, plan.graph.by_name["main"]).totals.attempts == 1, "it was not begun"
    assert run(limited(plan, 1000.0), "main")
    undisturbed = make_plan(plan.config.model_copy(update={"runs": tmp_path / "undisturbed"}))
    assert run(undisturbed, "main")
    ours, theirs = plan.layout.path("main"), undisturbed.layout.path("main")
    stop = plan.graph.by_name["main"].stop
    assert find(ours, stop).manifest["files"] == find(theirs, stop).manifest["files"]
    assert [m.loss for m in read_metrics(ours.metrics)] == [m.loss for m in read_metrics(theirs.metrics)]
    identities = [read_identity(each.path_json) for each in (ours, theirs)]
    assert identities[0] | {MARK: None} == identities[1] | {MARK: None}
