"""The account of an attempt at a path: the counters that every record of its ledger contains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrps.data.stream import PathData
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Counters
from lrps.ledger.totals import total
from lrps.paths.graph import TrainingPath
from lrps.paths.usage import Usage
from lrps.plan.plan import Plan


@dataclass
class DeviceClock:
    """The time up to which device-seconds are booked: every later second belongs to the next attempt."""

    since: float = field(default_factory=time.monotonic)
    """Time as `time.monotonic()`: the launch of the process group, then the last record of the previous attempt."""
    stated_start_seconds: float | None = None
    """Impossible time from the launch to this process by the wall clocks, which was not booked; None if there is
    none."""

    @property
    def waiting_seconds(self) -> float:
        """Seconds that are not booked yet."""
        return time.monotonic() - self.since


@dataclass(frozen=True)
class Rate:
    """The cost of a step on the process group."""

    tokens_per_step: int
    flops_per_token: int | None
    """Model FLOPs of a token, forward and backward; None if they are not known."""
    processes: int
    """Number of processes, all of which are allocated for the whole attempt."""


UsageUntil = Callable[[int], Usage]
"""Function from a lineage step to the tokens of the path's steps up to it, by usage."""


class Account:
    """The counters of one attempt.

    usage: tokens of the path up to a lineage step. reached: lineage step that earlier attempts have trained to; steps
    up to it are repeated.
    """

    def __init__(self, rate: Rate, clock: DeviceClock, usage: UsageUntil, reached: int) -> None:
        self.rate, self._clock, self._usage, self._reached = rate, clock, usage, reached
        self._since = clock.since
        self._counters = Counters()
        self._first_joules: float | None = None
        self._new_from, self._step = Usage(), 0

    def begin(self, step: int) -> None:
        """Begin at lineage step `step`."""
        self._step = step
        self._new_from = self._usage(max(step, self._reached))
        self.started()

    def started(self) -> None:
        """Book all time until now as `starting_seconds`."""
        self._counters.starting_seconds = (time.monotonic() - self._since) * self.rate.processes

    def take_launch_facts(self) -> dict[str, Any]:
        """Return, once for the process group, what a start record says about an impossible time of its launch."""
        stated, self._clock.stated_start_seconds = self._clock.stated_start_seconds, None
        return {} if stated is None else {"impossible_start_seconds": round(stated, 3)}

    def step(self, step: int, seconds: float, computed: bool = True) -> None:
        """Book the step that ended at lineage step `step` and took `seconds` of wall-clock time.

        computed: False if neither loss nor gradients were computed, so that it took no FLOPs.
        """
        counters, tokens = self._counters, self.rate.tokens_per_step
        self._step = step
        counters.steps += 1
        counters.tokens += tokens
        if computed:
            counters.flops += (self.rate.flops_per_token or 0) * tokens
        if step <= self._reached:
            counters.repeated_steps += 1
            counters.repeated_tokens += tokens
            counters.repeating_seconds += seconds * self.rate.processes
        else:
            counters.training_seconds += seconds * self.rate.processes

    def skip(self, first: int, step: int, seconds: float, computed: bool) -> dict[str, Any]:
        """Book steps [first, step), which passed without an update, as `step` does.

        Return what is no training of that: device-seconds, and tokens that would have been unique. Repeated steps are
        left out, because they are booked as repeated.
        """
        each = seconds / (step - first)
        for one in range(first, step):
            self.step(one + 1, each, computed)
        new_from = min(max(first, self._reached), step)
        new, before, now = step - new_from, self._usage(new_from), self._usage(step)
        known = now.replayed - before.replayed + now.rehearsal - before.rehearsal
        return {
            "seconds": each * new * self.rate.processes,
            "unique_tokens": new * self.rate.tokens_per_step - known,
        }

    @property
    def allocated_seconds(self) -> float:
        """Device-seconds of the attempt up to now."""
        return (time.monotonic() - self._since) * self.rate.processes

    @property
    def recorded_seconds(self) -> float:
        """Device-seconds of the attempt up to its newest record."""
        return self._counters.allocated_seconds

    @contextmanager
    def booking(self, counter: str) -> Iterator[None]:
        """Book the time inside the block as `saving_seconds` or `evaluating_seconds`."""
        began = time.monotonic()
        yield
        spent = getattr(self._counters, counter) + (time.monotonic() - began) * self.rate.processes
        setattr(self._counters, counter, spent)

    def energy(self, joules: float) -> None:
        """Book energy by the devices' counters, which show `joules` together; the first value is the zero point."""
        if self._first_joules is None:
            self._first_joules = joules
        self._counters.energy_joules = joules - self._first_joules

    def counters(self) -> Counters:
        """Return the counters up to now, and start the clock of the next attempt here."""
        self._clock.since = time.monotonic()
        counters = self._counters
        counters.allocated_seconds = (self._clock.since - self._since) * self.rate.processes
        if self._step > self._reached:
            now = self._usage(self._step)
            counters.replayed_tokens = now.replayed - self._new_from.replayed
            counters.rehearsal_tokens = now.rehearsal - self._new_from.rehearsal
        return counters


def usage_until(plan: Plan, path: TrainingPath, data: PathData) -> UsageUntil:
    """Return the function from a lineage step to the tokens of the path's steps up to it, by usage."""
    length = plan.config.data.sequence_length

    def tokens(step: int) -> Usage:
        taken = data.taken(min(step, path.stop) - path.start)
        return plan.row_usage.of(path, taken).times(length)

    return tokens


def open_account(path: TrainingPath, ledger_dir: Path, rate: Rate, clock: DeviceClock, usage: UsageUntil) -> Account:
    """Open the account of a new attempt at a path, from the ledger of earlier attempts."""
    before = total(read_ledger(ledger_dir, heartbeats=False))
    # What attempts trained that saved nothing before the path became another one is abandoned, not repeated.
    return Account(rate, clock, usage, before.last_step if before.first_step == path.start else path.start)
