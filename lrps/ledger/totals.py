"""What a path really cost: its attempts added up, and where the device-seconds went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from lrps.ledger.records import Counters, Record

_ENDINGS = {"stop": "complete", "failure": "failed"}
_CAUSES = {"running": "kill", "failed": "failure"}
"""State that an attempt was left in -> why the next one repeats steps."""


class RecordedPrice(NamedTuple):
    """Of a device-hour."""

    amount: float
    currency: str


def recorded_price(start: Record) -> RecordedPrice | None:
    """What the attempt that begins with this record pays; None if it recorded none."""
    stated = start.facts.get("price_per_device_hour")
    return None if stated is None else RecordedPrice(stated["amount"], stated["currency"])


@dataclass
class Totals:
    """What a path really cost over all its attempts."""

    attempts: int = 0
    first_step: int | None = None
    """Lineage step at which the path began."""
    last_step: int = 0
    """Highest lineage step that any attempt reached."""
    spent: Counters = field(default_factory=Counters)
    """Sums over the attempts, repeated steps included; energy is None if an attempt has none."""
    abandoned_seconds: float = 0.0
    """Training of attempts that saved nothing before the path became another one."""
    repeating_by_cause: dict[str, float] = field(default_factory=dict)
    """Why steps were lost (kill | failure | damage) -> device-seconds of training them again."""
    prices: dict[RecordedPrice | None, float] = field(default_factory=dict)
    """Price of a device-hour as attempts recorded it at their start -> device-hours at it; None: no record."""
    device: str = "n/a"
    processes: int = 0
    state: str = "planned"
    """planned | running | interrupted | failed | complete, by the last record."""
    updated: str | None = None
    """Time of the last record."""

    @property
    def useful_steps(self) -> int:
        """Steps of the path that its attempts have reached, each counted once."""
        return 0 if self.first_step is None else self.last_step - self.first_step

    @property
    def repeated_steps(self) -> int:
        """Steps that were lost, and trained again or abandoned: waste."""
        return self.spent.steps - self.useful_steps

    @property
    def productive_seconds(self) -> float:
        """Training of steps of this path, each counted once."""
        return self.spent.training_seconds - self.abandoned_seconds

    @property
    def goodput(self) -> float | None:
        """Productive share of the device-seconds held."""
        if not self.spent.allocated_seconds or not self.spent.steps:
            return None
        return self.productive_seconds / self.spent.allocated_seconds

    @property
    def currency(self) -> str | None:
        """Of all attempts; None if one recorded no price, or another currency."""
        named = {None if price is None else price.currency for price in self.prices}
        return named.pop() if len(named) == 1 else None

    @property
    def money(self) -> float | None:
        """Allocated time at the price that each attempt recorded; None where there is no one currency."""
        return self.money_in(self.currency, None) if self.currency else None

    def money_in(self, currency: str, otherwise: float | None) -> float | None:
        """The same in one currency, with the price `otherwise` for attempts that recorded none in it."""
        amounts = {
            price: price.amount if price is not None and price.currency == currency else otherwise
            for price in self.prices
        }
        if None in amounts.values():
            return None
        return sum(hours * (amounts[price] or 0.0) for price, hours in self.prices.items())

    @property
    def uses(self) -> dict[str, float]:
        """What the devices were held for -> device-seconds; they add up to the allocated time."""
        spent = self.spent
        return {
            "training": self.productive_seconds,
            "evaluating": spent.evaluating_seconds,
            "saving": spent.saving_seconds,
            "starting": spent.starting_seconds,
            **{f"repeating after {cause}": seconds for cause, seconds in sorted(self.repeating_by_cause.items())},
            **({"abandoned": self.abandoned_seconds} if self.abandoned_seconds else {}),
            "other": spent.other_seconds,
        }


def total(records: Iterable[Record]) -> Totals:
    """Add up the attempts of one path."""
    totals, attempt, last = Totals(), _Attempt("", None), None
    for record in records:
        if record.kind == "start":
            if last is not None:
                _close(totals, attempt, last)
            attempt = _Attempt(_CAUSES.get(totals.state, "damage"), recorded_price(record))
            _open(totals, record)
        if record.step > totals.last_step:
            totals.last_step = record.step
        last = record
    if last is not None:
        _close(totals, attempt, last)
    return totals


@dataclass(frozen=True)
class _Attempt:
    cause: str
    """Why it repeats steps, if it does."""
    price: RecordedPrice | None


def _open(totals: Totals, start: Record) -> None:
    totals.attempts += 1
    totals.device, totals.processes = start.facts["device"], start.facts["processes"]
    if totals.first_step != start.facts["path_start"]:
        # The first attempt, or one after attempts that saved nothing: until then a path may become another.
        totals.first_step = totals.last_step = start.facts["path_start"]
        totals.abandoned_seconds = totals.spent.training_seconds


def _close(totals: Totals, attempt: _Attempt, last: Record) -> None:
    """Add what an attempt had spent at its last record."""
    counters = last.counters
    totals.state = last.facts.get("outcome") or _ENDINGS.get(last.kind, "running")
    totals.updated = last.time
    totals.spent = _sum(totals.spent, counters) if totals.attempts > 1 else counters
    if counters.repeating_seconds:
        known = totals.repeating_by_cause.get(attempt.cause, 0.0)
        totals.repeating_by_cause[attempt.cause] = known + counters.repeating_seconds
    held = counters.allocated_seconds / 3600
    totals.prices[attempt.price] = totals.prices.get(attempt.price, 0.0) + held


def _sum(one: Counters, other: Counters) -> Counters:
    sums: dict[str, Any] = {}
    for key, value in asdict(one).items():
        more = getattr(other, key)
        sums[key] = None if value is None or more is None else value + more
    return Counters(**sums)
