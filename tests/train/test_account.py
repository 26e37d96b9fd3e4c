"""What an attempt spends: every device-second and token once, of the kind that it is."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.paths.usage import Usage
from lrps.plan.plan import make_plan
from lrps.train.account import Account, DeviceClock, Rate, open_account

RATE = Rate(tokens_per_step=10, flops_per_token=3, processes=2)


def mixed(step: int) -> Usage:
    """Of every ten tokens six are new, three replayed and one rehearsal."""
    return Usage(6 * step, 3 * step, step)


@given(st.integers(0, 20), st.integers(0, 30), st.integers(0, 20))
def test_steps_that_were_lost_are_repeated_and_all_else_is_of_its_kind(start: int, reached: int, steps: int) -> None:
    account = Account(RATE, DeviceClock(), mixed, max(start, reached))
    account.begin(start)
    for step in range(start + 1, start + steps + 1):
        account.step(step, 0.5)
    spent = account.counters()
    new = [step for step in range(start + 1, start + steps + 1) if step > max(start, reached)]
    assert (spent.steps, spent.repeated_steps) == (steps, steps - len(new))
    assert (spent.tokens, spent.flops) == (10 * steps, 30 * steps)
    assert spent.repeated_tokens == 10 * (steps - len(new))
    assert (spent.unique_tokens, spent.replayed_tokens, spent.rehearsal_tokens) == tuple(
        n * len(new) for n in (6, 3, 1)
    )
    assert spent.training_seconds == pytest.approx(len(new))
    assert spent.repeating_seconds == pytest.approx(steps - len(new))


def test_every_process_is_held_from_the_launch_to_the_next_attempts_start() -> None:
    launched = time.monotonic() - 3600
    clock = DeviceClock(launched)
    first = Account(RATE, clock, mixed, 0)
    first.begin(0)
    with first.booking("saving_seconds"):
        time.sleep(0.01)
    spent = first.counters()
    assert spent.starting_seconds >= 7200, "two processes"
    assert spent.allocated_seconds >= spent.starting_seconds + spent.saving_seconds
    assert spent.saving_seconds >= 0.02
    between = clock.since - launched
    assert spent.allocated_seconds == pytest.approx(2 * between)
    assert Account(RATE, clock, mixed, 0).counters().allocated_seconds < 3600, (
        "what the first booked is not booked again"
    )


def test_loading_the_state_is_starting() -> None:
    account = Account(RATE, DeviceClock(), mixed, 0)
    account.begin(0)
    time.sleep(0.02)
    account.started()
    account.step(1, 0.0)
    assert account.counters().starting_seconds >= 0.04


def test_energy_is_what_the_devices_counted_since_the_first_value() -> None:
    account = Account(RATE, DeviceClock(), mixed, 0)
    assert account.counters().energy_joules is None
    account.energy(1000.0)
    account.energy(1250.0)
    assert account.counters().energy_joules == 250.0


def test_what_was_trained_before_the_path_became_another_is_not_repeated(make_config: Any) -> None:
    plan = make_plan(make_config())
    path = plan.graph.by_name["main"]
    ledger_dir = plan.layout.path("main").ledger
    ledger = LedgerWriter(ledger_dir)
    ledger.append("start", 7, Counters(), format=FORMAT, path="main", path_start=7, device="cpu", processes=1)
    ledger.append("heartbeat", 9, Counters(steps=2))
    account = open_account(path, ledger_dir, RATE, DeviceClock(), mixed)
    account.begin(0)
    account.step(1, 0.5)
    assert account.counters().repeated_steps == 0
    ledger.append("stop", 9, Counters(steps=2), outcome="complete")
    again = LedgerWriter(ledger_dir)
    again.append("start", 0, Counters(), format=FORMAT, path="main", path_start=0, device="cpu", processes=1)
    again.append("heartbeat", 4, Counters(steps=4))
    account = open_account(path, ledger_dir, RATE, DeviceClock(), mixed)
    account.begin(0)
    account.step(1, 0.5)
    assert account.counters().repeated_steps == 1, "an attempt at this very path had trained it"
