"""Totals of a path's ledger: its attempts added up by use of the device-seconds, and the pace of each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add
from typing import Any, NamedTuple

from lrps.base.step_set import NO_STEPS, StepSet
from lrps.base.units import hours
from lrps.ledger.frequent_skips import frequent_skips
from lrps.ledger.records import Counters, Record

_ENDINGS = {"stop": "complete", "failure": "failed"}
_CAUSES = {"running": "kill", "failed": "failure"}
"""Mapping from the state that an attempt ended in to the reason why the next one repeats steps."""
_DOUBT = "doubt"
"""Reason to repeat steps that led to a doubtful state."""
REWIND = "rewind"
"""Cause of repeated steps that `lrps rewind` abandoned."""


class RecordedPrice(NamedTuple):
    """The price of a device-hour, as an attempt recorded it."""

    amount: float
    currency: str


def recorded_price(start: Record) -> RecordedPrice | None:
    """Return the price in a start record; None if the attempt recorded none."""
    stated = start.facts.get("price_per_device_hour")
    return None if stated is None else RecordedPrice(stated["amount"], stated["currency"])


@dataclass
class Totals:
    """The measured cost of a path over all its attempts."""

    attempts: int = 0
    first_step: int | None = None
    """Lineage step at which the path began."""
    last_step: int = 0
    """Highest lineage step that any attempt reached."""
    current_step: int = 0
    """Highest lineage step that was reached in the history that counts: since the path was last taken back."""
    spent: Counters = field(default_factory=Counters)
    """Sums of the counters over the attempts, repeated steps included; energy is None if an attempt has none."""
    abandoned_seconds: float = 0.0
    """Device-seconds of training in attempts that saved nothing before the path was replaced by another one, and in
    steps that a rewind abandoned and that are not trained again yet."""
    skipped: StepSet = NO_STEPS
    """Steps of the path that passed without an update."""
    passed_by_guard: StepSet = NO_STEPS
    """Those of them that the guard judged, and no amendment left out."""
    skipped_seconds: float = 0.0
    """Device-seconds of steps that passed without an update, those aside that are booked as repeated or abandoned."""
    skipped_unique_tokens: int = 0
    """Number of tokens of such steps that would have been unique."""
    spikes: StepSet = NO_STEPS
    """Steps of the path that were judged spikes and trained all the same."""
    repeating_by_cause: dict[str, float] = field(default_factory=dict)
    """Mapping from the cause of lost steps (kill | failure | damage | doubt | rewind) to device-seconds of repeating
    them."""
    repeated_by_cause: dict[str, int] = field(default_factory=dict)
    """Mapping from the cause of lost steps to their number: trained again, or abandoned by a rewind."""
    prices: dict[RecordedPrice | None, float] = field(default_factory=dict)
    """Mapping from the price that attempts recorded, None if they recorded none, to device-hours at that price."""
    device: str = "n/a"
    processes: int = 0
    state: str = "planned"
    """State by the last record: planned | running | interrupted | failed | complete | rewound."""
    updated: str | None = None
    """Time of the last record."""

    @property
    def useful_steps(self) -> int:
        """Number of steps of the path that its attempts have reached, each counted once, skipped ones included.

        Steps that a rewind abandoned are no useful ones.
        """
        return 0 if self.first_step is None else self.current_step - self.first_step

    @property
    def frequent_skips(self) -> int:
        """Number of the last 1,000 steps that the guard has let pass; 0 if it is at most 1 % of them."""
        return frequent_skips(self.passed_by_guard, self.current_step)

    @property
    def repeated_steps(self) -> int:
        """Number of steps that were lost, and trained again or abandoned."""
        return self.spent.steps - self.useful_steps

    @property
    def unique_tokens(self) -> int:
        """Number of tokens that the lineage had never trained on before."""
        return self.spent.unique_tokens - self.skipped_unique_tokens

    @property
    def productive_seconds(self) -> float:
        """Device-seconds of training steps of this path, each counted once."""
        return self.spent.training_seconds - self.abandoned_seconds - self.skipped_seconds

    @property
    def goodput(self) -> float | None:
        """Productive share of the allocated device-seconds; None if no step was trained."""
        if not self.spent.allocated_seconds or not self.spent.steps:
            return None
        return self.productive_seconds / self.spent.allocated_seconds

    @property
    def currency(self) -> str | None:
        """Currency of all attempts; None if one recorded no price, or another currency."""
        named = {None if price is None else price.currency for price in self.prices}
        return named.pop() if len(named) == 1 else None

    @property
    def money(self) -> float | None:
        """Cost of the allocated time at the prices that the attempts recorded; None without a common currency."""
        return self.money_in(self.currency, None) if self.currency else None

    def money_in(self, currency: str, otherwise: float | None) -> float | None:
        """Return the cost in a currency. otherwise: price of a device-hour for attempts that recorded none in it.

        None if such an attempt exists and `otherwise` is None.
        """
        amounts = {
            price: price.amount if price is not None and price.currency == currency else otherwise
            for price in self.prices
        }
        if None in amounts.values():
            return None
        return sum(device_hours * (amounts[price] or 0.0) for price, device_hours in self.prices.items())

    @property
    def uses(self) -> dict[str, float]:
        """Mapping from the use of the devices to device-seconds, which add up to the allocated time."""
        spent = self.spent
        return {
            "training": self.productive_seconds,
            "evaluating": spent.evaluating_seconds,
            "saving": spent.saving_seconds,
            "starting": spent.starting_seconds,
            **{f"repeating after {cause}": seconds for cause, seconds in sorted(self.repeating_by_cause.items())},
            **({"skipped": self.skipped_seconds} if self.skipped_seconds else {}),
            **({"abandoned": self.abandoned_seconds} if self.abandoned_seconds else {}),
            "other": spent.other_seconds,
        }


def total(records: Iterable[Record]) -> Totals:
    """Add up the attempts in the records of one path."""
    totals, attempt, last, history = Totals(), _Attempt("", None, 0), None, _History()
    for record in records:
        if record.kind == "start":
            if last is not None:
                _close(totals, attempt, last)
            _open(totals, record, history)
            lost = _DOUBT if record.facts.get("doubtful") else _CAUSES.get(totals.state, "damage")
            attempt = _Attempt(lost, recorded_price(record), totals.current_step)
        elif record.kind == "skip":
            steps = StepSet.of([(record.facts["first"], record.facts["last"])])
            totals.skipped |= steps
            if record.facts["cause"] != "amendment":
                totals.passed_by_guard |= steps
            history.skips.append(record)
        elif record.kind == "spike":
            totals.spikes |= StepSet.of([(record.facts["first"], record.facts["first"])])
        elif record.kind == REWIND:
            totals.current_step = record.facts["to"]
            history.skips = [skip for skip in history.skips if skip.step <= totals.current_step]
        totals.last_step = max(totals.last_step, record.step)
        totals.current_step = max(totals.current_step, record.step)
        attempt.add(record)
        history.add(record.step, totals.spent.training_seconds + record.counters.training_seconds)
        last = record
    if last is not None:
        _close(totals, attempt, last)
    _book_history(totals, history)
    return totals


class _History:
    """Device-seconds of training until the attempts of a path first reached a step, and its skipped steps."""

    def __init__(self) -> None:
        self.begin(0, 0.0)

    def begin(self, step: int, seconds: float) -> None:
        """Begin at the first step of the path. seconds: spent on another path before it was replaced by this one."""
        self._steps, self._seconds = [step], [seconds]
        self.skips: list[Record] = []

    def add(self, step: int, seconds: float) -> None:
        """Note the seconds at a step, if it is the first time that it is reached."""
        if step > self._steps[-1]:
            self._steps.append(step)
            self._seconds.append(seconds)

    def since(self, step: int) -> float:
        """Return the seconds from a step to the last one. Between records, steps count as equally long."""
        after = bisect_left(self._steps, step)
        if after == len(self._steps):
            return 0.0
        at = self._seconds[after]
        if after and self._steps[after] > step:
            (begin, end), (low, high) = self._steps[after - 1 : after + 1], self._seconds[after - 1 : after + 1]
            at = low + (high - low) * (step - begin) / (end - begin)
        return self._seconds[-1] - at


def _book_history(totals: Totals, history: _History) -> None:
    """Book the skipped steps, and those that a rewind abandoned and that are not trained again yet."""
    totals.skipped_seconds = sum(skip.facts["seconds"] for skip in history.skips)
    totals.skipped_unique_tokens = sum(skip.facts["unique_tokens"] for skip in history.skips)
    if (steps := totals.last_step - totals.current_step) > 0:
        totals.abandoned_seconds += history.since(totals.current_step)
        totals.repeated_by_cause[REWIND] = totals.repeated_by_cause.get(REWIND, 0) + steps


@dataclass
class _Attempt:
    """Repeated steps of an attempt: up to `lost_until` steps of its own history, beyond it what a rewind abandoned."""

    cause: str
    """Reason for the steps of its own history that it repeats, if any."""
    price: RecordedPrice | None
    lost_until: int
    """Lineage step that the history had reached when the attempt began."""
    repeated: tuple[int, float] = (0, 0.0)
    """Steps of its own history that it repeated, and device-seconds of them."""
    _newest: Record | None = None
    _passed: bool = False

    def add(self, record: Record) -> None:
        """Add the next record of the attempt."""
        if self._passed:
            return
        steps, seconds = record.counters.repeated_steps, record.counters.repeating_seconds
        self._passed = record.step > self.lost_until
        if self._passed and (before := self._newest) is not None:
            known = before.counters
            own = min(steps - known.repeated_steps, max(0, self.lost_until - before.step))
            share = own / (steps - known.repeated_steps) if own else 0.0
            steps = known.repeated_steps + own
            seconds = known.repeating_seconds + share * (seconds - known.repeating_seconds)
        self.repeated, self._newest = (steps, seconds), record


def _open(totals: Totals, start: Record, history: _History) -> None:
    totals.attempts += 1
    totals.device, totals.processes = start.facts["device"], start.facts["processes"]
    if totals.first_step != start.facts["path_start"]:
        # The first attempt, or one after attempts that saved nothing, when the path may have been replaced.
        totals.first_step = totals.last_step = totals.current_step = start.facts["path_start"]
        totals.abandoned_seconds = totals.spent.training_seconds
        history.begin(totals.first_step, totals.abandoned_seconds)
    # Steps after the state that it begins from are decided again.
    for name in ("skipped", "passed_by_guard", "spikes"):
        setattr(totals, name, getattr(totals, name).within(0, start.step))


def _close(totals: Totals, attempt: _Attempt, last: Record) -> None:
    """Add the counters of an attempt at its last record."""
    counters = last.counters
    totals.state = last.facts.get("outcome") or _ENDINGS.get(last.kind, "running")
    totals.updated = last.time
    totals.spent = _sum(totals.spent, counters) if totals.attempts > 1 else counters
    steps, seconds = attempt.repeated
    causes = {
        attempt.cause: attempt.repeated,
        REWIND: (counters.repeated_steps - steps, counters.repeating_seconds - seconds),
    }
    for cause, (steps, seconds) in causes.items():
        if seconds:
            totals.repeating_by_cause[cause] = totals.repeating_by_cause.get(cause, 0.0) + seconds
        if steps:
            totals.repeated_by_cause[cause] = totals.repeated_by_cause.get(cause, 0) + steps
    totals.prices[attempt.price] = totals.prices.get(attempt.price, 0.0) + hours(counters.allocated_seconds)


def _sum(one: Counters, other: Counters) -> Counters:
    sums: dict[str, Any] = {}
    for key, value in asdict(one).items():
        more = getattr(other, key)
        sums[key] = None if value is None or more is None else value + more
    return Counters(**sums)


@dataclass(frozen=True)
class Pace:
    """A number of optimizer steps and the time they took, including saves, evaluations and waiting, without startup."""

    steps: int = 0
    device_seconds: float = 0.0

    def __add__(self, other: Pace) -> Pace:
        return Pace(self.steps + other.steps, self.device_seconds + other.device_seconds)

    @property
    def seconds_per_step(self) -> float | None:
        """Device-seconds per step; None if there are no steps."""
        return self.device_seconds / self.steps if self.steps else None


@dataclass(frozen=True)
class AttemptPace:
    """The pace of one attempt, and its number of processes."""

    processes: int
    pace: Pace


def attempt_paces(records: Iterable[Record]) -> tuple[AttemptPace, ...]:
    """Return the pace of every attempt in a path's ledger up to its last record, oldest first."""
    found: list[AttemptPace] = []
    for record in records:
        if record.kind == "start":
            found.append(AttemptPace(record.facts["processes"], Pace()))
        counters = record.counters
        pace = Pace(counters.steps, max(0.0, counters.allocated_seconds - counters.starting_seconds))
        if found:  # A ledger that lost its beginning has no start to count this for.
            found[-1] = AttemptPace(found[-1].processes, pace if counters.steps else Pace())
    return tuple(found)


def pooled(paces: Iterable[Pace]) -> Pace:
    """Return the sum of several paces."""
    return reduce(add, paces, Pace())
