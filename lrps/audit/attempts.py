"""The attempts of one path as an unbroken chain: which attempt trained each step that led to a saved state.

An attempt continues from a state that an earlier one saved, so every saved state has a history: ranges of steps, each
trained by one attempt. Steps outside these histories were lost and trained again. They are waste, and the rows that
they read do not count as used twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from lrps.audit.result import Difference
from lrps.base.errors import LedgerError
from lrps.base.step_set import NO_STEPS, StepSet
from lrps.ledger.records import Record
from lrps.paths.graph import TrainingPath
from lrps.paths.path_digest import PATH_DIGEST


@dataclass(frozen=True)
class TrainedSteps:
    """Steps [start, stop) that one attempt trained, and the tokens that its ledger counts for them."""

    start: int
    stop: int
    tokens: int
    skipped: StepSet = NO_STEPS
    """Those of them that passed without an update, by its ledger."""


@dataclass(frozen=True)
class RecordedStart:
    """Facts of an attempt's start record about the state that it began from. Values are JSON, unchecked."""

    file: Path
    step: int
    """Lineage step of that state."""
    path_digest: Any
    """Digest of the path up to the step; None in records of earlier versions of lrps."""
    parent_state: str | None
    """Digest of the manifest of the parent's state, if the attempt forked from it; None in earlier records."""
    history: int = 0
    """Number of the newest amendment of the path when the attempt began; 0 before the first one."""


@dataclass(frozen=True)
class StatesAtOneTime:
    """The states that a path had at one time."""

    saves: Mapping[int, tuple[TrainedSteps, ...]]
    """Same as the field of `AttemptChain`."""
    state_digests: Mapping[int, str]
    """Same as the field of `AttemptChain`."""


@dataclass(frozen=True)
class AttemptChain:
    """The attempts of a path, and the states that they saved."""

    saves: Mapping[int, tuple[TrainedSteps, ...]]
    """Lineage step of every saved state -> the path's own steps that led to it, oldest first."""
    end: int
    """Lineage step of the newest state that the path can continue from."""
    attempts: int
    """Number of attempts."""
    executed_steps: int
    """Number of steps of all attempts, including those that were lost."""
    executed_tokens: int
    """Number of tokens of these steps."""
    differences: tuple[Difference, ...]
    """Contradictions within the ledger, and between the ledger and the path."""
    starts: tuple[RecordedStart, ...] = ()
    """Starts of the attempts that saved a state."""
    state_digests: Mapping[int, str] = field(default_factory=dict)
    """Lineage step -> digest of the manifest of its newest state, of the states whose record has one."""
    abandoned: Mapping[int, StatesAtOneTime] = field(default_factory=dict)
    """Number of an amendment -> states that the path had just before it was taken back, in the order of numbers."""

    def of_history(self, history: int | None) -> AttemptChain:
        """Return the chain with the states of an older history; of the newest one for None.

        history: number of its newest amendment, 0 before the first one.
        """
        if history is None:
            return self
        then = next((states for number, states in self.abandoned.items() if number > history), None)
        return self if then is None else replace(self, saves=then.saves, state_digests=then.state_digests)

    def tokens(self, step: int) -> int:
        """Return the tokens that the ledger counts for the path's own steps up to a saved state, each step once."""
        return sum(trained.tokens for trained in self.saves[step])

    def skipped(self, step: int) -> StepSet:
        """Return the path's own steps up to a saved state that passed without an update, by the ledger."""
        return reduce(or_, (trained.skipped for trained in self.saves[step]), NO_STEPS)


@dataclass
class _Attempt:
    """An attempt, as far as its records have been read."""

    file: Path
    start: int
    """Lineage step that the attempt started from."""
    tokens_per_step: int
    base: tuple[TrainedSteps, ...]
    """Steps that led to the state that the attempt started from."""
    recorded: RecordedStart
    pending: list[Difference]
    """Differences that count only once the attempt saves: a path that never saved anything may become another one."""
    steps: int = 0
    tokens: int = 0
    saved: list[int] = field(default_factory=list)
    """Lineage steps of the states that the attempt saved."""
    heartbeats: dict[int, int] = field(default_factory=dict)
    """Lineage step -> tokens of each heartbeat or skip since the newest saved state. Any of these states may be saved.
    """
    skipped: StepSet = NO_STEPS
    """Steps of the attempt that passed without an update."""

    @property
    def reached(self) -> int:
        """Lineage step that the attempt has reached."""
        return self.start + self.steps

    def history(self, step: int) -> tuple[TrainedSteps, ...]:
        """Return the steps that led to the state after a step that the attempt has reached."""
        tokens = self.heartbeats.get(step, self.tokens)
        trained = TrainedSteps(self.start, step, tokens, self.skipped.within(self.start, step))
        return (*self.base, trained) if step > self.start else self.base


def chain_attempts(
    records: Iterable[Record],
    path: TrainingPath,
    *,
    start_facts: Mapping[str, Any],
    source_facts: Mapping[str, Mapping[str, Any]],
    files: Sequence[Path],
    on_disk: Collection[int],
) -> AttemptChain:
    """Return the chain of a path's attempts. A record that cannot be read ends it, as a difference.

    records: those of all attempts, oldest first. start_facts: facts that the start record of every attempt must have.
    source_facts: `manifests` and `rows`, each by source, that it must agree with. files: ledger files of the attempts,
    oldest first. on_disk: lineage steps of complete checkpoints; an attempt that dies may leave one without its record.
    """
    builder = _ChainBuilder(path, start_facts, source_facts, files)
    try:
        for record in records:
            builder.add(record)
    except LedgerError as error:
        builder.differences.append(Difference(str(error), path.name, builder.file))
    return builder.chain(on_disk)


class _ChainBuilder:
    """Builder of an attempt chain, one record at a time."""

    def __init__(
        self,
        path: TrainingPath,
        start_facts: Mapping[str, Any],
        source_facts: Mapping[str, Mapping[str, Any]],
        files: Sequence[Path],
    ) -> None:
        self.path, self.start_facts, self.source_facts, self.files = path, start_facts, source_facts, files
        self.saves: dict[int, tuple[TrainedSteps, ...]] = {path.start: ()}
        self.attempts: list[_Attempt] = []
        self.differences: list[Difference] = []
        self.state_digests: dict[int, str] = {}
        self.abandoned: dict[int, StatesAtOneTime] = {}

    @property
    def file(self) -> Path:
        """Ledger file that is being read."""
        return self.files[max(0, len(self.attempts) - 1)]

    def add(self, record: Record) -> None:
        """Add the next record."""
        if record.kind == "start":
            self._add_unrecorded_saves(on_disk=[record.step])
            self.attempts.append(self._begin(record))
        attempt = self.attempts[-1]
        self._check(record, attempt)
        attempt.steps, attempt.tokens = record.counters.steps, record.counters.tokens
        if record.kind in ("heartbeat", "skip", "failure"):
            attempt.heartbeats[attempt.reached] = attempt.tokens
        if record.kind == "rewind":
            self._rewind(record, attempt)
        if record.kind == "skip":
            self._add_skip(record, attempt)
        if record.kind in ("heartbeat", "skip"):  # If this state is saved too, it replaces an earlier one of the step.
            self.state_digests.pop(attempt.reached, None)
        if record.kind == "checkpoint":
            self._check_saved(record, attempt)
            self._save(attempt, record.saved_step)
            if digest := record.facts.get("digest"):
                self.state_digests[record.saved_step] = digest

    def _rewind(self, record: Record, attempt: _Attempt) -> None:
        """Keep the states so far as those of an older history, and continue with those up to the step."""
        number, to, states = len(self.abandoned) + 1, record.facts.get("to"), record.facts.get("abandoned")
        amended = [each.at for each in self.path.amendments][number - 1 : number]
        if (record.facts.get("amendment"), [to]) != (number, amended) or to != record.step:
            what = "the ledger says that the path was taken back, and path.json has another amendment or none"
            self._differ(what, attempt, record.step, [number, *amended], [record.facts.get("amendment"), to])
        digests = dict(states) if isinstance(states, list) and all(map(_is_state, states)) else {}
        if (
            len(self.attempts) > 1
        ):  # The attempt before may have died between the publication of a state and its record.
            self._add_unrecorded_saves(digests, self.attempts[-2])
        for step, digest in digests.items():
            if (recorded := self.state_digests.get(step, digest)) != digest:
                what = "the abandoned state is not the one that the ledger has a record of: it was replaced"
                self._differ(what, attempt, step, recorded, digest)
        self.abandoned[number] = StatesAtOneTime(dict(self.saves), {**digests, **self.state_digests})
        self.saves = {step: steps for step, steps in self.saves.items() if step <= record.step}
        self.state_digests = {step: each for step, each in self.state_digests.items() if step <= record.step}

    def _add_skip(self, record: Record, attempt: _Attempt) -> None:
        """Add steps that passed without an update, which must be the last ones that the attempt has reached."""
        first, last = record.facts.get("first"), record.facts.get("last")
        if isinstance(first, int) and isinstance(last, int) and attempt.start <= first <= last == attempt.reached - 1:
            attempt.skipped |= StepSet.of([(first, last)])
        else:
            what = "the ledger says that other steps passed without an update than those it has just counted"
            self._differ(what, attempt, record.step, f"steps up to {attempt.reached - 1}", [first, last])

    def _begin(self, record: Record) -> _Attempt:
        file, facts = self.files[len(self.attempts)], dict(record.facts)
        parent_state = None
        if isinstance(fork := facts.get("parent"), dict):
            parent_state = fork.get("digest")
            facts["parent"] = {key: value for key, value in fork.items() if key != "digest"}
        attempt = _Attempt(
            file=file,
            start=record.step,
            tokens_per_step=facts.get("tokens_per_step", 0),
            base=self.saves.get(record.step, ()),
            recorded=RecordedStart(file, record.step, facts.get(PATH_DIGEST), parent_state, len(self.abandoned)),
            pending=[],
        )
        if record.step not in self.saves:
            what = "the attempt starts from a state that no earlier one saved: the steps before it were left out"
            newest = max((step for step in self.saves if step < record.step), default=self.path.start)
            attempt.pending.append(self._difference(what, attempt, record.step, newest, record.step))
        for key, expected in self.start_facts.items():
            if (found := facts.get(key)) != expected:
                what = f"the ledger's `{key}` is not the path's"
                attempt.pending.append(self._difference(what, attempt, record.step, expected, found))
        for key, by_source in self.source_facts.items():
            stated = facts.get(key)
            if not (isinstance(stated, dict) and stated):
                what = f"the ledger does not give the `{key}` of the sources that the attempt read"
                attempt.pending.append(self._difference(what, attempt, record.step, dict(by_source), stated))
                continue
            for source, found in stated.items():
                if found != (expected := by_source.get(source)):
                    what = f"the attempt read a source whose `{key}` are not the path's"
                    attempt.pending.append(self._difference(what, attempt, record.step, expected, found, source))
        return attempt

    def _check(self, record: Record, attempt: _Attempt) -> None:
        """Check that the counters do not jump, and that the record is at the step that they have reached."""
        counters = record.counters
        if counters.steps < attempt.steps:
            what = "the ledger's steps go backwards within an attempt"
            self._differ(what, attempt, record.step, f"{attempt.steps} or more", counters.steps)
        if counters.tokens != (expected := counters.steps * attempt.tokens_per_step):
            what = f"the ledger's tokens are not those of {counters.steps} steps of {attempt.tokens_per_step}"
            self._differ(what, attempt, record.step, expected, counters.tokens)
        # An earlier state may be evaluated late; the record that ends the attempt then is at the step of that state.
        late = record.kind in ("evaluation", "stop", "failure") and record.step in self.saves
        if record.step != (reached := attempt.start + counters.steps) and not late:
            what = f"a record that counts {counters.steps} steps from step {attempt.start} is at another step"
            self._differ(what, attempt, record.step, reached, record.step)

    def _check_saved(self, record: Record, attempt: _Attempt) -> None:
        """Check that a saved state is that of the step the attempt has reached, or of an earlier heartbeat."""
        if (step := record.saved_step) != attempt.reached and step not in attempt.heartbeats:
            what = "the ledger says that a state was saved at a step for which it has no heartbeat"
            self._differ(what, attempt, record.step, [*attempt.heartbeats, attempt.reached], step)

    def _save(self, attempt: _Attempt, step: int) -> None:
        self.differences += attempt.pending
        attempt.pending = []
        attempt.saved.append(step)
        self.saves[step] = attempt.history(step)
        attempt.heartbeats = {later: tokens for later, tokens in attempt.heartbeats.items() if later > step}

    def _add_unrecorded_saves(self, on_disk: Collection[int], attempt: _Attempt | None = None) -> None:
        """Add the states of the newest attempt that are on disk but have no record, as it may have died between.

        The heartbeat of a step is on disk before its checkpoint, and more heartbeats may follow while that is written.
        """
        attempt = attempt or (self.attempts[-1] if self.attempts else None)
        for step in sorted(attempt.heartbeats) if attempt is not None else ():
            if attempt is not None and step in on_disk and step not in self.saves:
                self._save(attempt, step)

    def chain(self, on_disk: Collection[int]) -> AttemptChain:
        """Return the chain after the last record. on_disk: lineage steps of complete checkpoints."""
        self._add_unrecorded_saves(on_disk)
        for number, amendment in enumerate(self.path.amendments[len(self.abandoned) :], len(self.abandoned) + 1):
            what = f"its rewind to this step, amendment {number}, was cut short: `lrps run` completes it"
            self.differences.append(Difference(what, self.path.name, self.file, amendment.at))
        end = self.path.start
        if self.attempts:
            last = self.attempts[-1]
            started_from = last.start if last.start in self.saves else max(self.saves)
            end = last.saved[-1] if last.saved else started_from
        return AttemptChain(
            self.saves,
            end,
            len(self.attempts),
            sum(attempt.steps for attempt in self.attempts),
            sum(attempt.tokens for attempt in self.attempts),
            tuple(self.differences),
            tuple(attempt.recorded for attempt in self.attempts if attempt.saved),
            self.state_digests,
            self.abandoned,
        )

    def _differ(self, what: str, attempt: _Attempt, step: int, expected: Any, found: Any) -> None:
        self.differences.append(self._difference(what, attempt, step, expected, found))

    def _difference(
        self, what: str, attempt: _Attempt, step: int, expected: Any, found: Any, source: str | None = None
    ) -> Difference:
        return Difference(what, self.path.name, attempt.file, step, source, expected, found)


def _is_state(value: Any) -> bool:
    """Return whether a JSON value is the step and the digest of a state."""
    return isinstance(value, list) and len(value) == 2 and type(value[0]) is int and isinstance(value[1], str)
