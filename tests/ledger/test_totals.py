"""Sums over attempts, against an implementation that counts second by second."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.ledger.reader import read_ledger
from lrps.ledger.records import FORMAT, Counters, Record
from lrps.ledger.totals import AttemptPace, Pace, attempt_paces, pooled, total
from lrps.ledger.writer import LedgerWriter

USD = {"amount": 3.6, "currency": "USD", "source": "list", "date": "2026-01-01"}


@dataclass(frozen=True)
class Attempt:
    """Steps from `start` to `stop`, and how it ended: kill | failure | interrupted | complete."""

    start: int
    stop: int
    ending: str
    price: dict[str, Any] | None = None
    energy: float | None = None


STARTING, STEP, SAVING, OTHER = 5, 2, 3, 1
"""Device-seconds of each attempt's start, each step, each save at its end, and of nothing in particular."""


def records(attempts: list[Attempt]) -> list[Record]:
    """What the trainer would write: heartbeats every step, counters as train/account.py books them."""
    out, reached = [], 0
    for attempt in attempts:
        spent = Counters(allocated_seconds=STARTING, starting_seconds=STARTING, energy_joules=attempt.energy)
        facts = {"format": FORMAT, "path_start": 0, "device": "cpu", "processes": 2}
        out.append(_record("start", attempt.start, spent, **facts, price_per_device_hour=attempt.price))
        for step in range(attempt.start + 1, attempt.stop + 1):
            new = step > reached
            spent = _more(
                spent,
                steps=1,
                tokens=10,
                repeated_steps=0 if new else 1,
                training_seconds=STEP if new else 0,
                repeating_seconds=0 if new else STEP,
                allocated_seconds=STEP,
            )
            out.append(_record("heartbeat", step, spent))
        reached = max(reached, attempt.stop)
        if attempt.ending in ("interrupted", "complete"):
            spent = _more(spent, saving_seconds=SAVING, allocated_seconds=SAVING + OTHER)
            out.append(_record("stop", attempt.stop, spent, outcome=attempt.ending))
        elif attempt.ending == "failure":
            out.append(_record("failure", attempt.stop, spent, error="Boom"))
    return out


def _record(kind: str, step: int, spent: Counters, **facts: Any) -> Record:
    return Record(kind, step, f"at {step}", spent, facts, "")


def _more(spent: Counters, **added: float) -> Counters:
    values = {name: getattr(spent, name) + added.get(name, 0) for name in Counters.__annotations__ if added.get(name)}
    return Counters(**{name: values.get(name, getattr(spent, name)) for name in Counters.__annotations__})


@st.composite
def histories(draw: st.DrawFn) -> list[Attempt]:
    """Attempts that go on from wherever a save may have been; the last may end in any way."""
    attempts, reached = [], 0
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, reached))
        stop = draw(st.integers(start, start + 9))
        attempts.append(Attempt(start, stop, draw(st.sampled_from(["kill", "failure", "interrupted"]))))
        reached = max(reached, stop)
    return attempts


@given(histories())
def test_every_device_second_and_every_step_is_counted_once(attempts: list[Attempt]) -> None:
    totals = total(records(attempts))
    trained: list[int] = []
    uses: Counter[str] = Counter()
    for attempt, before in zip(attempts, [None, *attempts], strict=False):
        uses["starting"] += STARTING
        why = {"kill": "kill", "failure": "failure", "interrupted": "damage"}[before.ending] if before else ""
        for step in range(attempt.start, attempt.stop):
            uses[f"repeating after {why}" if step in trained else "training"] += STEP
        trained += range(attempt.start, attempt.stop)
        if attempt.ending == "interrupted":
            uses["saving"] += SAVING
            uses["other"] += OTHER
    assert {use: seconds for use, seconds in totals.uses.items() if seconds} == dict(+uses)
    assert sum(totals.uses.values()) == pytest.approx(totals.spent.allocated_seconds)
    assert totals.repeated_steps == totals.spent.repeated_steps == len(trained) - len(set(trained))
    assert totals.useful_steps == len(set(trained))
    if trained:
        assert totals.goodput == pytest.approx(uses["training"] / sum(uses.values()))


@pytest.mark.parametrize(("ending", "state"), [("kill", "running"), ("failure", "failed"), ("complete", "complete")])
def test_the_last_record_is_the_state(ending: str, state: str) -> None:
    assert total(records([Attempt(0, 3, "failure"), Attempt(2, 4, ending)])).state == state


def test_no_ledger_is_planned() -> None:
    totals = total([])
    assert (totals.state, totals.goodput, totals.useful_steps) == ("planned", None, 0)


def test_what_was_trained_before_the_path_became_another_is_no_product() -> None:
    other = [r._replace(facts=r.facts | {"path_start": 7}) if r.facts else r for r in records([Attempt(7, 10, "kill")])]
    totals = total([*other, *records([Attempt(0, 4, "complete")])])
    assert (totals.first_step, totals.useful_steps, totals.repeated_steps) == (0, 4, 3)
    assert totals.uses["abandoned"] == 3 * STEP
    assert totals.productive_seconds == 4 * STEP
    assert sum(totals.uses.values()) == totals.spent.allocated_seconds


def test_money_is_at_the_price_that_each_attempt_recorded() -> None:
    dearer = USD | {"amount": 36.0}
    totals = total(records([Attempt(0, 5, "kill", USD), Attempt(5, 10, "kill", dearer)]))
    assert (totals.money, totals.currency) == (pytest.approx(15 * 0.001 + 15 * 0.01), "USD")


@pytest.mark.parametrize("other", [None, USD | {"currency": "EUR"}])
def test_money_is_not_known_where_a_price_is_missing_or_of_another_currency(other: dict[str, Any] | None) -> None:
    for prices in ([USD, other, USD], [other, USD, USD]):
        totals = total(records([Attempt(i, i + 1, "kill", price) for i, price in enumerate(prices)]))
        assert (totals.money, totals.currency) == (None, None)
        assert totals.money_in("USD", None) is None
        assert totals.money_in("USD", 36.0) == pytest.approx((2 * 3.6 + 36.0) * 7 / 3600), "7 device-seconds an attempt"


def test_energy_is_known_where_every_attempt_counted_it() -> None:
    counted = [Attempt(0, 1, "kill", energy=5.0), Attempt(1, 2, "kill", energy=6.0)]
    assert total(records(counted)).spent.energy_joules == 11.0
    assert total(records([*counted, Attempt(2, 3, "kill")])).spent.energy_joules is None


# Rewinds


@dataclass(frozen=True)
class Rewind:
    """The path is taken back to a step."""

    to: int


def with_rewinds(events: list[Attempt | Rewind]) -> list[Record]:
    """What the trainer and `lrps rewind` would write."""
    out: list[Record] = []
    for index, event in enumerate(events):
        if isinstance(event, Attempt):
            before = [each for each in events[:index] if isinstance(each, Attempt)]
            whole = records([*before, event])
            out += whole[len(records(before)) :]
            continue
        facts = {"format": FORMAT, "path_start": 0, "device": "cpu", "processes": 2, "price_per_device_hour": None}
        out.append(_record("start", event.to, Counters(), **facts))
        out.append(_record("rewind", event.to, Counters(), to=event.to, amendment=1, abandoned=[]))
        out.append(_record("stop", event.to, Counters(), outcome="rewound"))
    return out


@st.composite
def steered(draw: st.DrawFn) -> list[Attempt | Rewind]:
    """Attempts and rewinds in turns, as kills, resumes and people make them."""
    events: list[Attempt | Rewind] = []
    here = 0
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, here))
        if events and draw(st.booleans()):
            events.append(Rewind(start))
            here = start
            continue
        stop = draw(st.integers(start, start + 9))
        events.append(Attempt(start, stop, draw(st.sampled_from(["kill", "failure", "interrupted"]))))
        here = max(here, stop)
    return events


@given(steered())
def test_executed_steps_are_useful_ones_and_repeated_ones_by_cause(events: list[Attempt | Rewind]) -> None:
    totals = total(with_rewinds(events))
    here = reached = executed = 0
    causes: Counter[str] = Counter()
    ending = ""
    for event in events:
        if isinstance(event, Rewind):
            here, ending = event.to, ""
            continue
        why = {"kill": "kill", "failure": "failure", "interrupted": "damage", "": "damage"}[ending]
        for step in range(event.start, event.stop):
            executed += 1
            if step < reached:
                causes[why if step < here else "rewind"] += 1
        reached, here, ending = max(reached, event.stop), max(here, event.stop), event.ending
    seconds = {f"repeating after {why}": steps * STEP for why, steps in causes.items()}
    assert {use: each for use, each in totals.uses.items() if use.startswith("repeating")} == pytest.approx(seconds)
    causes["rewind"] += reached - here
    assert totals.repeated_by_cause == dict(+causes)
    assert executed == totals.spent.steps == totals.useful_steps + sum(causes.values())
    assert (totals.useful_steps, totals.repeated_steps) == (here, causes.total())
    assert totals.productive_seconds == pytest.approx(here * STEP)
    assert sum(totals.uses.values()) == pytest.approx(totals.spent.allocated_seconds)


def test_a_rewind_changes_no_price_and_is_a_state_of_its_own() -> None:
    events = with_rewinds([Attempt(0, 5, "interrupted"), Rewind(2)])
    assert total(events).state == "rewound"


# Pace of attempts


def test_each_attempt_has_its_pace_without_starting_up(tmp_path: Path) -> None:
    for processes, steps in ((2, 10), (4, 0), (4, 20)):
        writer = LedgerWriter(tmp_path)
        counters = Counters(allocated_seconds=100.0, starting_seconds=100.0)
        writer.append("start", 0, counters, format=FORMAT, path_start=0, device="cpu", processes=processes)
        counters = Counters(steps=steps, allocated_seconds=100.0 + 3.0 * max(steps, 1), starting_seconds=100.0)
        writer.append("heartbeat", steps, counters)
        writer.close()
    paces = attempt_paces(read_ledger(tmp_path))
    assert paces == (AttemptPace(2, Pace(10, 30.0)), AttemptPace(4, Pace()), AttemptPace(4, Pace(20, 60.0)))
    assert [attempt.pace.seconds_per_step for attempt in paces] == [3.0, None, 3.0]
    assert pooled(attempt.pace for attempt in paces) == Pace(30, 90.0)
