"""Spending: amounts that can be added and divided, and the ledger of a path booked on the step ranges of the path.

Everything that an attempt spends is booked on the step range that training had reached when it was spent: repeated
steps on the step range that they repeat, starting up on the one that training continues in, an evaluation on the one
that ends with the evaluated state. Nothing is left out: the step ranges of a path add up to the totals of its ledger
(ledger/totals.py).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from lrps.costs.measured_cost import JOULES_PER_KWH
from lrps.ledger.records import Counters, Record
from lrps.ledger.totals import RecordedPrice, recorded_price
from lrps.paths.cost import CostModel


@dataclass(frozen=True)
class Spending:
    """Cost of some steps of a path: everything that was spent on them, repeated steps, starting, saving and evaluating
    included. An amount that is None is unknown, and makes every sum that it is part of unknown."""

    steps: int | Fraction = 0
    """Number of optimizer steps of the path, each counted once."""
    tokens: int | Fraction = 0
    """Number of tokens trained on, repeated ones included."""
    flops: int | Fraction | None = 0
    """Model FLOPs of these tokens."""
    device_hours: float | None = 0.0
    """Allocated device-hours."""
    money: float | None = 0.0
    """Price of the device-hours, in the currency of the config."""
    energy_kwh: float | None = 0.0
    """Energy in kWh."""
    modelled: bool = False
    """True if any part of the spending is a forecast."""
    training_hours: float | None = 0.0
    """Device-hours in optimizer steps, repeated ones included."""

    def __add__(self, other: Spending) -> Spending:
        return Spending(
            self.steps + other.steps,
            self.tokens + other.tokens,
            _sum(self.flops, other.flops),
            _sum(self.device_hours, other.device_hours),
            _sum(self.money, other.money),
            _sum(self.energy_kwh, other.energy_kwh),
            self.modelled or other.modelled,
            _sum(self.training_hours, other.training_hours),
        )

    def part(self, share: Fraction) -> Spending:
        """Return a share of the spending."""
        return Spending(
            self.steps * share,
            self.tokens * share,
            None if self.flops is None else self.flops * share,
            None if self.device_hours is None else self.device_hours * share,
            None if self.money is None else self.money * share,
            None if self.energy_kwh is None else self.energy_kwh * share,
            self.modelled,
            None if self.training_hours is None else self.training_hours * share,
        )


PriceOf = Callable[[RecordedPrice | None], float | None]
"""Function from the price that an attempt recorded to the price that its device-hours are charged at."""


def _sum(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other


def sum_spending(spendings: Iterable[Spending]) -> Spending:
    return sum(spendings, Spending())


@dataclass
class Booking:
    """Sums of everything that was booked on one step range."""

    tokens: Fraction = Fraction(0)
    """Number of tokens trained on, repeated ones included."""
    flops: Fraction = Fraction(0)
    """Model FLOPs of these tokens."""
    allocated_seconds: float = 0.0
    """Allocated device-seconds."""
    training_seconds: float = 0.0
    """Device-seconds in optimizer steps, repeated ones included."""
    energy_joules: float = 0.0
    """Energy in joules."""
    money: float | None = 0.0
    """Price of the device-seconds, as each attempt recorded it, else that of the config; None if there is neither."""

    def add(self, now: Counters, before: Counters, share: Fraction, price: float | None) -> None:
        """Add a share of the spending between two records of an attempt. price: that of a device-hour."""
        seconds = (now.allocated_seconds - before.allocated_seconds) * share
        self.tokens += (now.tokens - before.tokens) * share
        self.flops += (now.flops - before.flops) * share
        self.allocated_seconds += seconds
        self.training_seconds += (_training(now) - _training(before)) * share
        self.money = _sum(self.money, None if price is None else seconds / 3600 * price)
        # The first records of an attempt may be older than the first reading of the energy meters.
        self.energy_joules += ((now.energy_joules or 0.0) - (before.energy_joules or 0.0)) * share

    def spending(self, steps: int, costs: CostModel, *, known_energy: bool) -> Spending:
        """Return the booked spending. steps: number of useful steps. known_energy: True if all attempts metered it."""
        hours, money = self.allocated_seconds / 3600, self.money if costs.currency is not None else None
        flops = self.flops if costs.flops_per_token is not None else None
        energy = self.energy_joules / JOULES_PER_KWH if known_energy else None
        training = self.training_seconds / 3600
        return Spending(steps, self.tokens, flops, hours, money, energy, training_hours=training)


def _training(counters: Counters) -> float:
    return counters.training_seconds + counters.repeating_seconds


def book(records: Iterable[Record], edges: Sequence[int], price_of: PriceOf) -> list[Booking]:
    """Book the records of a path, oldest first, on the step ranges that end at `edges` (ascending).

    Spending between two records on different sides of an edge is divided in proportion to their steps. Spending beyond
    the last edge is booked on the last step range; to leave it out, cut the records first (ledger.reader.until).
    price_of: price of a device-hour of an attempt, from the one that it recorded.
    """
    bookings = [Booking() for _ in edges]
    before, began, reached = Counters(), 0, 0
    price = None
    for record in records:
        if record.kind == "start":
            before, began, reached = Counters(), record.step, record.step
            price = price_of(recorded_price(record))
        for index, share in _places(record, began, reached, edges):
            bookings[index].add(record.counters, before, share, price)
        before, reached = record.counters, max(reached, record.step)
    return bookings


def _places(record: Record, began: int, reached: int, edges: Sequence[int]) -> Iterator[tuple[int, Fraction]]:
    """Yield the index of each step range that a record is booked on, and the share of the record's spending.

    began: step of the attempt's start. reached: highest step of its records before this one.
    """
    last = len(edges) - 1
    if record.kind == "evaluation":
        yield min(bisect_left(edges, record.step), last), Fraction(1)
    elif record.step <= reached:  # no step was taken
        find = bisect_right if reached == began else bisect_left
        yield min(find(edges, reached), last), Fraction(1)
    else:
        first, final = min(bisect_right(edges, reached), last), min(bisect_left(edges, record.step), last)
        bounds = [reached, *edges[first:final], record.step]
        for index, (low, high) in enumerate(pairwise(bounds), first):
            yield index, Fraction(high - low, record.step - reached)
