"""What stretches of a path cost: amounts that can be added and divided, and the ledger of a path booked on them.

Everything that an attempt spends is booked where training stood when it was spent: repeated steps on the stretch that
they repeat, starting up on the stretch that training goes on in, an evaluation on the stretch that ends with the state
it is of. Nothing is left out, so that the stretches of a path add up to what its ledger says (ledger/totals.py).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from lrps.ledger.records import Counters, Record
from lrps.ledger.totals import recorded_price
from lrps.paths.cost import CostModel

_SECONDS, _JOULES = 3600, 3.6e6
"""Of an hour, and of a kWh."""


@dataclass(frozen=True)
class Spending:
    """What some steps cost. None is not known, and makes every sum that it is part of not known.

    steps: of the path, each once. The rest holds everything that was spent on them: repeated steps, starting, saving,
    evaluating. modelled: anything of it is a forecast.
    """

    steps: int | Fraction = 0
    tokens: int | Fraction = 0
    flops: int | Fraction | None = 0
    device_hours: float | None = 0.0
    money: float | None = 0.0
    energy_kwh: float | None = 0.0
    modelled: bool = False
    training_hours: float | None = 0.0
    """Of the device-hours, those in optimizer steps, repeated ones included."""

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
        """A share of it."""
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

    def as_json(self) -> dict[str, Any]:
        """Keys of the reports. basis: measured, or modelled where anything is; null where no cost is known. Whole
        numbers are whole, shares of them are not."""
        basis = "modelled" if self.modelled else "measured"
        return {
            "steps": _plain(self.steps),
            "tokens": _plain(self.tokens),
            "flops": _plain(self.flops),
            "device_hours": self.device_hours,
            "training_hours": self.training_hours,
            "money": self.money,
            "energy_kwh": self.energy_kwh,
            "basis": None if self.device_hours is None else basis,
        }


def _sum(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other


def _plain(value: int | Fraction | None) -> int | float | None:
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return value


def added(spendings: Iterable[Spending]) -> Spending:
    return sum(spendings, Spending())


@dataclass
class Booking:
    """What was booked on one stretch."""

    tokens: Fraction = Fraction(0)
    flops: Fraction = Fraction(0)
    allocated_seconds: float = 0.0
    training_seconds: float = 0.0
    """Of these, in optimizer steps, repeated ones included."""
    energy_joules: float = 0.0
    money: float | None = 0.0
    """At the price that each attempt recorded, else at the config's; None where there is neither."""

    def add(self, now: Counters, before: Counters, share: Fraction, price: float | None) -> None:
        """A share of what was spent between two records of an attempt."""
        seconds = (now.allocated_seconds - before.allocated_seconds) * share
        self.tokens += (now.tokens - before.tokens) * share
        self.flops += (now.flops - before.flops) * share
        self.allocated_seconds += seconds
        self.training_seconds += (_training(now) - _training(before)) * share
        self.money = _sum(self.money, None if price is None else seconds / _SECONDS * price)
        # The first records of an attempt may come before the devices are asked.
        self.energy_joules += ((now.energy_joules or 0.0) - (before.energy_joules or 0.0)) * share

    def spending(self, steps: int, costs: CostModel, *, known_energy: bool) -> Spending:
        """With the path's useful steps. known_energy: whether the devices of all attempts counted it."""
        hours, money = self.allocated_seconds / _SECONDS, self.money if costs.currency is not None else None
        flops = self.flops if costs.flops_per_token is not None else None
        energy = self.energy_joules / _JOULES if known_energy else None
        training = self.training_seconds / _SECONDS
        return Spending(steps, self.tokens, flops, hours, money, energy, training_hours=training)


def _training(counters: Counters) -> float:
    return counters.training_seconds + counters.repeating_seconds


def book(records: Iterable[Record], edges: Sequence[int], costs: CostModel) -> list[Booking]:
    """Book the records of a path, oldest first, on the stretches that end at `edges` (ascending).

    What was spent between two records is divided by steps if an edge lies between them. What lies beyond the last edge
    is booked on the last stretch: cut the records before (ledger.reader.until) where it shall not be.
    """
    bookings = [Booking() for _ in edges]
    before, began, reached = Counters(), 0, 0
    price = costs.price_per_device_hour
    for record in records:
        if record.kind == "start":
            stated = recorded_price(record)
            before, began, reached = Counters(), record.step, record.step
            serves = stated is not None and stated.currency == costs.currency
            price = stated.amount if stated is not None and serves else costs.price_per_device_hour
        for index, share in _places(record, began, reached, edges):
            bookings[index].add(record.counters, before, share, price)
        before, reached = record.counters, max(reached, record.step)
    return bookings


def _places(record: Record, began: int, reached: int, edges: Sequence[int]) -> Iterator[tuple[int, Fraction]]:
    """Which stretches a record is booked on, and how much of it. began: step of the attempt's start. reached: highest
    step of its records before this one."""
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
