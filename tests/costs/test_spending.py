"""Where records are booked, one by one."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from lrps.costs.spending import Spending, book, sum_spending
from lrps.ledger.records import Counters, Record
from lrps.ledger.totals import RecordedPrice

EDGES = [10, 20]


def price_of(recorded: RecordedPrice | None) -> float:
    return 36.0 if recorded is None else recorded.amount


def ledger(*records: tuple[str, int, float]) -> list[Record]:
    """One attempt: (kind, step, device-seconds held by then); a step is 7 tokens."""
    start = records[0][1]
    facts: dict[str, Any] = {"price_per_device_hour": {"amount": 3600.0, "currency": "EUR"}}
    found, reached = [], start
    for kind, step, seconds in records:
        reached = max(reached, step)
        counters = Counters(steps=reached - start, tokens=7 * (reached - start), allocated_seconds=seconds)
        found.append(Record(kind, step, "", counters, facts if kind == "start" else {}, ""))
    return found


def seconds(records: list[Record]) -> list[float]:
    return [booking.allocated_seconds for booking in book(records, EDGES, price_of)]


@pytest.mark.parametrize(
    ("records", "booked"),
    [
        ([("start", 0, 4.0), ("heartbeat", 10, 14.0), ("checkpoint", 10, 16.0), ("heartbeat", 20, 26.0)], [16.0, 10.0]),
        ([("start", 10, 4.0), ("heartbeat", 20, 14.0)], [0.0, 14.0]),
        ([("start", 10, 4.0), ("failure", 10, 5.0)], [0.0, 5.0]),
        ([("start", 0, 4.0), ("heartbeat", 10, 14.0), ("heartbeat", 20, 24.0), ("evaluation", 10, 27.0)], [17.0, 10.0]),
        ([("start", 20, 4.0), ("evaluation", 20, 6.0), ("stop", 20, 7.0)], [0.0, 7.0]),
        ([("start", 0, 4.0), ("heartbeat", 20, 24.0), ("evaluation", 10, 25.0), ("stop", 10, 26.0)], [15.0, 11.0]),
    ],
    ids=["a save at an edge", "a resume at an edge", "no step at an edge", "an evaluation", "of the end", "no record"],
)
def test_booked_where_training_stood(records: list[tuple[str, int, float]], booked: list[float]) -> None:
    assert seconds(ledger(*records)) == pytest.approx(booked)


def test_an_edge_without_a_record_divides_by_steps() -> None:
    first, second = book(ledger(("start", 0, 0.0), ("heartbeat", 4, 4.0), ("heartbeat", 16, 40.0)), EDGES, price_of)
    assert (first.tokens, second.tokens) == (70, 42)
    assert (first.allocated_seconds, second.allocated_seconds) == (4 + 18, 18)
    assert first.money == pytest.approx(22.0)


def test_attempts_add_up() -> None:
    records = [*ledger(("start", 0, 1.0), ("heartbeat", 14, 8.0)), *ledger(("start", 5, 2.0), ("heartbeat", 20, 9.0))]
    bookings = book(records, EDGES, price_of)
    assert sum(booking.allocated_seconds for booking in bookings) == pytest.approx(17.0)
    assert sum(booking.tokens for booking in bookings) == 7 * (14 + 15)


def test_each_attempt_is_charged_by_the_price_that_it_recorded() -> None:
    priced, other = ledger(("start", 0, 0.0), ("heartbeat", 10, 8.0)), ledger(("start", 10, 0.0), ("stop", 20, 10.0))
    other[0] = other[0]._replace(facts={"price_per_device_hour": None})
    assert [booking.money for booking in book([*priced, *other], EDGES, price_of)] == pytest.approx([8.0, 0.1])
    unpriced = book(priced, EDGES, lambda _: None)
    assert [booking.money for booking in unpriced] == [None, 0.0]


def test_sums_and_shares() -> None:
    one = Spending(10, 70, 700, 1.0, 2.0, None, training_hours=0.5)
    whole = sum_spending([one, Spending(5, 35, 350, 0.5, 1.0, 3.0, modelled=True, training_hours=0.25)])
    expected = Spending(15, 105, 1050, 1.5, 3.0, None, modelled=True, training_hours=0.75)
    assert whole == expected
    third = one.part(Fraction(1, 3))
    assert (third + third + third).steps == 10
    assert third.device_hours == pytest.approx(1 / 3)
