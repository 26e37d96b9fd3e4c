"""Saved states of a path by its ledger: which of them are confirmed by what came after, and which are doubtful.

A checkpoint whose bytes are intact may still hold weights that a step has broken: the first loss that shows it is that
of a later step. A state is *confirmed* once a later step of the same history was finite and updated the weights, or
once an evaluation of the state itself was finite. Steps shortly before a failure confirm nothing: broken weights may
give a few finite losses. A state is *doubtful* if it is not confirmed and a step from it failed. Pure functions of
ledger records; ledgers of earlier versions of lrps are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from lrps.ledger.records import Record

NON_FINITE_EVALUATION = "non-finite evaluation"
"""Cause of a failure: the held-out loss of a saved state was not finite."""

STEPS_BEFORE_FAILURE = 3
"""Number of finite steps before a failed one that confirm nothing."""
_WORDS = re.compile(r"NonFiniteLoss: step (\d+):")
"""Failure at a step, in the words of ledgers whose `failure` records have no fact `at`."""
_WITHOUT_UPDATE = ("skip", "spike")
"""Kinds of records about steps that confirm nothing: no update, or a loss that was out of the ordinary."""


@dataclass(frozen=True)
class FailedStep:
    """A step at which an attempt ended, and which no later attempt has taken."""

    at: int
    """Lineage step of the state that the step was taken from; of an evaluation, that of the evaluated state."""
    cause: str
    """Cause as the record states it, such as `non-finite`."""
    parent_evaluated: bool = False
    """True if the loss of the state that the path forked from was finite before its first step."""


@dataclass(frozen=True)
class SavedStates:
    """The saved states of a path in its current history, as its ledger shows them.

    An attempt that starts from step s begins a new history there: states beyond s belong to an abandoned one.
    """

    saved: frozenset[int] = frozenset()
    """Lineage steps of the states that were saved."""
    confirmed: frozenset[int] = frozenset()
    """Steps of confirmed states; also the step that the path starts from, once a step from there was finite."""
    settled: frozenset[int] = frozenset()
    """Steps of states that are confirmed, and stay so if the next step fails."""
    only_evaluated: frozenset[int] = frozenset()
    """Steps of states that nothing but their own evaluation confirms: a failure soon after outweighs it."""
    doubtful: frozenset[int] = frozenset()
    """Steps of doubtful states, as above. A state stays doubtful until one of its step is saved again."""
    failures: tuple[FailedStep, ...] = ()
    """Failed steps since the newest rewind that no attempt has passed since, oldest first."""
    failed_before: frozenset[int] = frozenset()
    """Steps that failed before a rewind, while no state beyond them is confirmed."""
    rewound_to: frozenset[int] = frozenset()
    """Steps of the states that these rewinds went back to."""
    given_up: tuple[int, ...] = ()
    """Steps of doubtful states that attempts went back from, one entry each time."""
    digests: Mapping[int, str] = field(default_factory=dict)
    """Digest of the manifest by step of the saved state, of those whose record has one."""
    parent_state: str | None = None
    """Digest of the state of another path that the newest attempt to fork started from; None if it is not known."""

    @property
    def unconfirmed(self) -> frozenset[int]:
        """Steps of saved states that are not confirmed."""
        return self.saved - self.confirmed

    @property
    def unproven(self) -> frozenset[int]:
        """Steps of saved states of which a child can still show something."""
        return self.unconfirmed | self.only_evaluated

    def with_child(self, fork: int, child: SavedStates, *, other_data: bool = False) -> SavedStates:
        """Return the states with what a path that forks at step `fork` shows of the state that it starts from.

        other_data: True if its first steps read other rows than this path would. Then a step of it that fails is no
        evidence against a state whose own loss was finite: the data may be at fault.
        """
        if fork not in self.unproven:
            return self
        other_state = None not in (child.parent_state, here := self.digests.get(fork)) and child.parent_state != here
        if fork in child.confirmed and not other_state:
            settled = self.settled | ({fork} & child.settled)
            return replace(
                self,
                confirmed=self.confirmed | {fork},
                settled=settled,
                only_evaluated=self.only_evaluated - {fork},
                doubtful=self.doubtful - {fork},
            )
        # What a child has shown of an earlier state of the step says nothing of this one.
        failed = child.failures if fork in child.doubtful and not other_state else ()
        if other_data:
            failed = tuple(each for each in failed if not self._is_cleared(fork, each))
        # This path has gone back for some of them already: they are of an earlier state of the step.
        if len(failed) <= self.given_up.count(fork):
            return self
        return replace(
            self,
            confirmed=self.confirmed - {fork},
            settled=self.settled - {fork},
            only_evaluated=self.only_evaluated - {fork},
            doubtful=self.doubtful | {fork},
            failures=(*self.failures, *failed),
        )

    def _is_cleared(self, fork: int, failure: FailedStep) -> bool:
        """Return whether the state of a fork had a finite loss of its own before a step of a child failed."""
        of_the_fork = failure.cause == NON_FINITE_EVALUATION and failure.at == fork
        return not of_the_fork and (fork in self.only_evaluated or failure.parent_evaluated)


@dataclass
class _Attempt:
    """Steps and states in the records of one attempt."""

    start: int
    """Lineage step of the state that the attempt started from."""
    path_start: int
    """Lineage step that the path itself starts from."""
    given_up: tuple[int, ...]
    parent_state: str | None = None
    steps: int = 0
    saved: set[int] = field(default_factory=set)
    digests: dict[int, str] = field(default_factory=dict)
    evaluated: set[int] = field(default_factory=set)
    passed: set[int] = field(default_factory=set)
    failure: FailedStep | None = None
    rewound: bool = False

    def add(self, record: Record) -> None:
        """Add a record of the attempt."""
        self.steps = max(self.steps, record.counters.steps)
        if record.kind == "checkpoint":
            self.saved.add(record.saved_step)
            if digest := record.facts.get("digest"):
                self.digests[record.saved_step] = digest
        elif record.kind == "evaluation" and record.facts.get("form") in (None, "raw"):
            self.evaluated.add(record.step)
        elif record.kind in _WITHOUT_UPDATE:
            self.passed.update(range(first := record.facts["first"], record.facts.get("last", first) + 1))
        elif record.kind == "failure":
            self.failure = failed_step(record)
        elif record.kind == "rewind":
            self.rewound = True

    def last_good(self, failing: int | None) -> int:
        """Return the newest step that confirms the states before it if step `failing` fails; -1 if there is none."""
        stop = self.start + self.steps if failing is None else failing - STEPS_BEFORE_FAILURE
        return next((step for step in reversed(range(self.start, stop)) if step not in self.passed), -1)


def failed_step(failure: Record) -> FailedStep | None:
    """Return the step at which an attempt failed, from its `failure` record; None if it failed for another reason."""
    at, cause = failure.facts.get("at"), failure.facts.get("cause")
    if at is not None:
        return FailedStep(int(at), str(cause), "parent_loss" in failure.facts)
    words = _WORDS.match(str(failure.facts.get("error")))
    return FailedStep(int(words[1]), "non-finite") if words else None


def saved_states(records: Iterable[Record]) -> SavedStates:
    """Return the saved states of a path. records: those of all its attempts, oldest first; outdated heartbeats may be
    left out.
    """
    states = SavedStates()
    for attempt in _attempts(records):
        states = _after(states, attempt)
    return states


def _attempts(records: Iterable[Record]) -> Iterator[_Attempt]:
    attempt: _Attempt | None = None
    for record in records:
        if record.kind == "start":
            if attempt is not None:
                yield attempt
            attempt = _begun(record)
        elif attempt is not None:  # A ledger that lost its beginning has no start.
            attempt.add(record)
    if attempt is not None:
        yield attempt


def _begun(start: Record) -> _Attempt:
    given_up, parent = tuple(start.facts.get("doubtful", ())), start.facts.get("parent") or {}
    return _Attempt(start.step, start.facts.get("path_start", 0), given_up, parent.get("digest"))


def _after(states: SavedStates, attempt: _Attempt) -> SavedStates:
    """Return the states after one more attempt."""
    start, failure = attempt.start, attempt.failure
    failing = None if failure is None or failure.cause == NON_FINITE_EVALUATION else failure.at
    good = attempt.last_good(failing)
    sure = attempt.last_good(start + attempt.steps if failing is None else failing)
    # An attempt that died may have published a state without its record: the next one starts from it.
    saved = {step for step in states.saved if step <= start} | ({start} - {attempt.path_start}) | attempt.saved
    candidates = saved | {attempt.path_start}
    kept = {step for step in states.confirmed if step <= start} - attempt.saved
    by_steps = (kept - states.only_evaluated) | {step for step in candidates if step <= good}
    evaluated = frozenset[int]()
    if failing is None:  # A failure soon after the newest states outweighs their evaluations.
        evaluated = ((states.only_evaluated & kept) | (attempt.evaluated & candidates)) - by_steps
    confirmed = by_steps | evaluated
    settled = (states.settled & kept & confirmed) | {step for step in by_steps if step <= sure} | evaluated
    doubtful = ((states.doubtful | {*attempt.given_up}) - attempt.saved) - confirmed
    failures = [each for each in states.failures if each.at > good]
    if failure is not None and not (failure.cause == NON_FINITE_EVALUATION and failure.at in confirmed):
        failures.append(failure)
        doubtful |= {step for step in candidates - confirmed if step <= failure.at}
    before, rewound_to = states.failed_before, states.rewound_to
    if attempt.rewound:
        before |= {each.at for each in failures}
        rewound_to |= {start}
        failures, doubtful = [], frozenset()
    if before and any(step > max(before) for step in confirmed):
        before = rewound_to = frozenset()
    return SavedStates(
        frozenset(saved),
        frozenset(confirmed),
        frozenset(settled),
        frozenset(evaluated),
        frozenset(doubtful),
        tuple(failures),
        before,
        rewound_to,
        given_up=(*states.given_up, *attempt.given_up),
        digests={step: each for step, each in {**states.digests, **attempt.digests}.items() if step in saved},
        parent_state=attempt.parent_state or states.parent_state,
    )
