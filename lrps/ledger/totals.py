"""What a path really cost: its attempts added up, and where the device-seconds went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from lrps.ledger.records import Counters, Record

_ENDINGS = {"stop": "complete", "failure": "failed"}
_CAUSES = {"running": "kill", "failed": "failure"}
"""State that an attempt was left in -> why the next one repeats steps."""


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
    money: float | None = 0.0
    """Allocated time at the price that each attempt recorded; None if one recorded none, or another currency."""
    currency: str | None = None
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
            attempt = _Attempt(_CAUSES.get(totals.state, "damage"), record.facts.get("price_per_device_hour"))
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
    price: dict[str, Any] | None


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
    currency = attempt.price["currency"] if attempt.price else None
    if attempt.price is None or totals.money is None or totals.currency not in (None, currency):
        totals.money = totals.currency = None
    else:
        totals.money += counters.allocated_seconds / 3600 * attempt.price["amount"]
        totals.currency = currency


def _sum(one: Counters, other: Counters) -> Counters:
    sums: dict[str, Any] = {}
    for key, value in asdict(one).items():
        more = getattr(other, key)
        sums[key] = None if value is None or more is None else value + more
    return Counters(**sums)
