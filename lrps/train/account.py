"""What an attempt at a path spends: the counters that every record of its ledger carries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lrps.data.stream import PathData
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Counters
from lrps.ledger.totals import total
from lrps.paths.graph import TrainingPath
from lrps.paths.usage import Usage, usage
from lrps.plan.plan import Plan


@dataclass
class DeviceClock:
    """From when on the devices are held for the next attempt: every second is booked on some path."""

    since: float
    """As `time.time()`: the launch of the process group, then the last record of the attempt before."""


@dataclass(frozen=True)
class Rate:
    """What a step takes. flops_per_token None: not known; processes: all of them are held while any of them works."""

    tokens_per_step: int
    flops_per_token: int | None
    processes: int


class Account:
    """Counters of one attempt.

    usage: tokens of the path's steps up to a lineage step, by what they are to the lineage. reached: lineage step that
    earlier attempts have trained to; steps up to it are repeated.
    """

    def __init__(self, rate: Rate, clock: DeviceClock, usage: Callable[[int], Usage], reached: int) -> None:
        self.rate, self._clock, self._usage, self._reached = rate, clock, usage, reached
        self._since = clock.since
        self._counters = Counters()
        self._first_joules: float | None = None
        self._new_from, self._step = Usage(), 0

    def begin(self, step: int) -> None:
        """Training goes on at lineage step `step`."""
        self._step = step
        self._new_from = self._usage(max(step, self._reached))
        self.started()

    def started(self) -> None:
        """All time until now was starting."""
        self._counters.starting_seconds = (time.time() - self._since) * self.rate.processes

    def step(self, step: int, seconds: float) -> None:
        """The step before lineage step `step` is done."""
        counters, tokens = self._counters, self.rate.tokens_per_step
        self._step = step
        counters.steps += 1
        counters.tokens += tokens
        counters.flops += (self.rate.flops_per_token or 0) * tokens
        if step <= self._reached:
            counters.repeated_steps += 1
            counters.repeated_tokens += tokens
            counters.repeating_seconds += seconds * self.rate.processes
        else:
            counters.training_seconds += seconds * self.rate.processes

    @contextmanager
    def booking(self, counter: str) -> Iterator[None]:
        """Book the time inside as `saving_seconds` or `evaluating_seconds`."""
        began = time.monotonic()
        yield
        spent = getattr(self._counters, counter) + (time.monotonic() - began) * self.rate.processes
        setattr(self._counters, counter, spent)

    def energy(self, joules: float) -> None:
        """The devices' counters stand at `joules` together; what they had counted before is not ours."""
        if self._first_joules is None:
            self._first_joules = joules
        self._counters.energy_joules = joules - self._first_joules

    def counters(self) -> Counters:
        """As they stand now; the clock of the next attempt starts here."""
        self._clock.since = time.time()
        counters = self._counters
        counters.allocated_seconds = (self._clock.since - self._since) * self.rate.processes
        if self._step > self._reached:
            now = self._usage(self._step)
            counters.replayed_tokens = now.replayed - self._new_from.replayed
            counters.rehearsal_tokens = now.rehearsal - self._new_from.rehearsal
        return counters


def open_account(plan: Plan, path: TrainingPath, stage: PathData, processes: int, clock: DeviceClock) -> Account:
    """The account of a new attempt at a path."""
    before = total(read_ledger(plan.layout.path(path.name).ledger, heartbeats=False))
    rate = Rate(plan.config.tokens_per_step, plan.costs.flops_per_token, processes)

    def tokens(step: int) -> Usage:
        taken = stage.taken(min(step, path.stop) - path.start)
        return usage(path, taken, plan.increments, plan.rehearsal).times(plan.config.data.sequence_length)

    # What attempts trained that saved nothing before the path became another one is lost, not repeated.
    return Account(rate, clock, tokens, before.last_step if before.first_step == path.start else path.start)
