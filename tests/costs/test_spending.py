"""Where records are booked, one by one."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from lrps.costs.spending import Spending, book, sum_spending
from lrps.ledger.records import Counters, Record
from lrps.paths.cost import CostModel

EDGES = [10, 20]
COSTS = CostModel(
    tokens_per_step=7,
    flops_per_token=None,
    flops_per_device_hour=None,
    price_per_device_hour=36.0,
    currency="EUR",
    checkpoint_bytes=None,
)


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
    return [booking.allocated_seconds for booking in book(records, EDGES, COSTS)]


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
    first, second = book(ledger(("start", 0, 0.0), ("heartbeat", 4, 4.0), ("heartbeat", 16, 40.0)), EDGES, COSTS)
    assert (first.tokens, second.tokens) == (70, 42)
    assert (first.allocated_seconds, second.allocated_seconds) == (4 + 18, 18)
    assert first.money == pytest.approx(22.0)


def test_attempts_add_up() -> None:
    records = [*ledger(("start", 0, 1.0), ("heartbeat", 14, 8.0)), *ledger(("start", 5, 2.0), ("heartbeat", 20, 9.0))]
    bookings = book(records, EDGES, COSTS)
    assert sum(booking.allocated_seconds for booking in bookings) == pytest.approx(17.0)
    assert sum(booking.tokens for booking in bookings) == 7 * (14 + 15)


@pytest.mark.parametrize("stated", [None, {"amount": 3600.0, "currency": "USD"}], ids=["no price", "another currency"])
def test_only_an_attempt_without_a_price_is_paid_at_the_configs(stated: dict[str, Any] | None) -> None:
    priced, other = ledger(("start", 0, 0.0), ("heartbeat", 10, 8.0)), ledger(("start", 10, 0.0), ("stop", 20, 10.0))
    other[0] = other[0]._replace(facts={"price_per_device_hour": stated})
    assert [booking.money for booking in book([*priced, *other], EDGES, COSTS)] == pytest.approx([8.0, 0.1])


def test_sums_and_shares() -> None:
    one = Spending(10, 70, 700, 1.0, 2.0, None, training_hours=0.5)
    whole = sum_spending([one, Spending(5, 35, 350, 0.5, 1.0, 3.0, modelled=True, training_hours=0.25)])
    expected = Spending(15, 105, 1050, 1.5, 3.0, None, modelled=True, training_hours=0.75)
    assert whole == expected
    third = one.part(Fraction(1, 3))
    assert (third + third + third).steps == 10
    assert third.device_hours == pytest.approx(1 / 3)
