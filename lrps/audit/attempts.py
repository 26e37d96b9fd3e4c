"""Which attempt trained which step for good: the ledger of one path as a chain without a hole.

An attempt goes on from a state that an earlier one saved, so every saved state has a history: stretches of steps, each
by one attempt. Steps that no such history holds were lost and trained again; they are waste, not data used twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrps.audit.result import Difference
from lrps.base.errors import LedgerError
from lrps.ledger.records import Record
from lrps.paths.graph import TrainingPath


@dataclass(frozen=True)
class TrainedSteps:
    """Steps [start, stop) that one attempt trained, and the tokens that it booked for them."""

    start: int
    stop: int
    tokens: int


@dataclass(frozen=True)
class Chain:
    """The attempts of a path. saves: lineage step of a saved state -> the stretches that led to it, oldest first."""

    saves: Mapping[int, tuple[TrainedSteps, ...]]
    end: int
    """The newest state that the path can go on from."""
    attempts: int
    executed_steps: int
    executed_tokens: int
    differences: tuple[Difference, ...]

    def tokens(self, step: int) -> int:
        """Tokens that the ledger has for the path's own steps up to a saved state, each step once."""
        return sum(stretch.tokens for stretch in self.saves[step])


@dataclass
class _Attempt:
    file: Path
    start: int
    tokens_per_step: int
    base: tuple[TrainedSteps, ...]
    doubts: list[Difference]
    """They count once the attempt saves: a path that never saved anything may become another one."""
    steps: int = 0
    tokens: int = 0
    saved: list[int] = field(default_factory=list)
    heard: dict[int, int] = field(default_factory=dict)
    """Step -> tokens, of the heartbeats since the newest saved state: the state of any of them may be saved."""

    @property
    def reached(self) -> int:
        return self.start + self.steps

    def history(self, step: int) -> tuple[TrainedSteps, ...]:
        """What led to the state of a step that the attempt has reached."""
        tokens = self.heard.get(step, self.tokens)
        return (*self.base, TrainedSteps(self.start, step, tokens)) if step > self.start else self.base


def follow(
    records: Iterable[Record],
    path: TrainingPath,
    *,
    start_facts: Mapping[str, Any],
    source_facts: Mapping[str, Mapping[str, Any]],
    files: Sequence[Path],
    on_disk: Collection[int],
) -> Chain:
    """The chain of a path's attempts.

    start_facts: what every attempt's start record must say. source_facts: `manifests` and `rows`, each by source.
    files: those of the attempts, oldest first. on_disk: steps of complete checkpoints; a crash may come between a
    checkpoint and its record.
    """
    follower = _Follower(path, start_facts, source_facts, files)
    try:
        for record in records:
            follower.take(record)
    except LedgerError as error:
        follower.differences.append(Difference(str(error), path.name, follower.file))
    return follower.chain(on_disk)


class _Follower:
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

    @property
    def file(self) -> Path:
        """The file that is being read."""
        return self.files[max(0, len(self.attempts) - 1)]

    def take(self, record: Record) -> None:
        if record.kind == "start":
            self._settle(saved=[record.step])
            self.attempts.append(self._begin(record))
        attempt = self.attempts[-1]
        self._check(record, attempt)
        attempt.steps, attempt.tokens = record.counters.steps, record.counters.tokens
        if record.kind in ("heartbeat", "failure"):
            attempt.heard[attempt.reached] = attempt.tokens
        if record.kind == "checkpoint":
            self._check_saved(record, attempt)
            self._save(attempt, record.saved_step)

    def _begin(self, record: Record) -> _Attempt:
        attempt = _Attempt(
            file=self.files[len(self.attempts)],
            start=record.step,
            tokens_per_step=record.facts.get("tokens_per_step", 0),
            base=self.saves.get(record.step, ()),
            doubts=[],
        )
        if record.step not in self.saves:
            what = "the attempt begins at a state that no earlier one saved: the steps before it were left out"
            newest = max((step for step in self.saves if step < record.step), default=self.path.start)
            attempt.doubts.append(self._difference(what, attempt, record.step, newest, record.step))
        for key, expected in self.start_facts.items():
            if (found := record.facts.get(key)) != expected:
                what = f"the ledger's `{key}` is not the path's"
                attempt.doubts.append(self._difference(what, attempt, record.step, expected, found))
        for key, by_source in self.source_facts.items():
            stated = record.facts.get(key)
            if not (isinstance(stated, dict) and stated):
                what = f"the ledger does not say the `{key}` of what the attempt read"
                attempt.doubts.append(self._difference(what, attempt, record.step, dict(by_source), stated))
                continue
            for source, found in stated.items():
                if found != (expected := by_source.get(source)):
                    what = f"the attempt read a source whose `{key}` are not the path's"
                    attempt.doubts.append(self._difference(what, attempt, record.step, expected, found, source))
        return attempt

    def _check(self, record: Record, attempt: _Attempt) -> None:
        """The counters go on without a jump, and the record stands at the step that they have reached."""
        counters = record.counters
        if counters.steps < attempt.steps:
            what = "the ledger's steps go backwards within an attempt"
            self._differ(what, attempt, record.step, f"{attempt.steps} or more", counters.steps)
        if counters.tokens != (expected := counters.steps * attempt.tokens_per_step):
            what = f"the ledger's tokens are not its {counters.steps} steps of {attempt.tokens_per_step}"
            self._differ(what, attempt, record.step, expected, counters.tokens)
        # Earlier states may be evaluated late; whatever ends the attempt then still stands at their step.
        late = record.kind in ("evaluation", "stop", "failure") and record.step in self.saves
        if record.step != (reached := attempt.start + counters.steps) and not late:
            what = f"a record of {counters.steps} steps from step {attempt.start} stands at another step"
            self._differ(what, attempt, record.step, reached, record.step)

    def _check_saved(self, record: Record, attempt: _Attempt) -> None:
        """The state is of the step that the attempt has reached, or of one before that the ledger has heard of."""
        if (step := record.saved_step) != attempt.reached and step not in attempt.heard:
            what = "the ledger says that a state was saved that it never heard of"
            self._differ(what, attempt, record.step, [*attempt.heard, attempt.reached], step)

    def _save(self, attempt: _Attempt, step: int) -> None:
        self.differences += attempt.doubts
        attempt.doubts = []
        attempt.saved.append(step)
        self.saves[step] = attempt.history(step)
        attempt.heard = {later: tokens for later, tokens in attempt.heard.items() if later > step}

    def _settle(self, saved: Collection[int]) -> None:
        """An attempt that died may have published a save without its record: then that step is among `saved`.

        The heartbeat is on disk before the checkpoint, which others may follow while it is written.
        """
        for step in sorted(self.attempts[-1].heard) if self.attempts else ():
            if step in saved and step not in self.saves:
                self._save(self.attempts[-1], step)

    def chain(self, on_disk: Collection[int]) -> Chain:
        self._settle(on_disk)
        end = self.path.start
        if self.attempts:
            last = self.attempts[-1]
            begun = last.start if last.start in self.saves else max(self.saves)
            end = last.saved[-1] if last.saved else begun
        return Chain(
            self.saves,
            end,
            len(self.attempts),
            sum(attempt.steps for attempt in self.attempts),
            sum(attempt.tokens for attempt in self.attempts),
            tuple(self.differences),
        )

    def _differ(self, what: str, attempt: _Attempt, step: int, expected: Any, found: Any) -> None:
        self.differences.append(self._difference(what, attempt, step, expected, found))

    def _difference(
        self, what: str, attempt: _Attempt, step: int, expected: Any, found: Any, source: str | None = None
    ) -> Difference:
        return Difference(what, self.path.name, attempt.file, step, source, expected, found)
