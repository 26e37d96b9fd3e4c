"""The watch over the steps of a path: which ones pass without an update, and which ones are spikes."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from lrps.base.errors import SpikeError
from lrps.base.step_set import StepSet
from lrps.config.guarding import GuardConfig
from lrps.engine.metrics_sync import StepResult
from lrps.engine.update_gate import Judge
from lrps.paths.graph import TrainingPath
from lrps.store.identity import GUARD, SKIPPED
from lrps.train.path_start import PathStart
from lrps.train.pending_steps import PendingStep
from lrps.train.watches.spike_guard import LEFT_OUT, GuardState, StepNote, judge


class StepWatch:
    """The steps of a lineage that passed without an update, and the guard of a path. Equal on all ranks."""

    def __init__(self, guard: GuardConfig | None, path: TrainingPath, start: PathStart) -> None:
        """Continue from the saved state that the attempt begins from."""
        origin = start.origin
        saved = {} if origin.checkpoint is None or origin.verb == "start" else origin.checkpoint.identity
        self._left_out = start.skips
        self._skipped = StepSet.of(saved.get(SKIPPED, ()))
        self._guard, self._segments = guard, {*accumulate((s.steps for s in path.segments), initial=path.start)}
        self._state = GuardState.from_json(saved[GUARD]) if GUARD in saved and origin.verb == "resume" else GuardState()
        self._note: StepNote | None = None

    def leaves_out(self, step: int) -> bool:
        """Return True if the path lets the step pass without computing anything."""
        return step in self._left_out

    def judge_of(self, step: int) -> Judge | None:
        """Return the judge of a step before its update; None if the guard changes nothing of what is trained."""
        if self._guard is None or self._guard.action != "skip":
            return None
        return lambda loss, norm: self._judge(step, loss, norm)

    def note_of(self, step: int) -> StepNote | None:
        """Return the note of the step that was just taken or left out, with what is known before a metrics sync."""
        note, self._note = LEFT_OUT if self.leaves_out(step) else self._note, None
        if note is not None and note.skipped:
            self._skipped |= StepSet.of([(step, step)])
        return note

    def noted(self, step: PendingStep, result: StepResult | None) -> StepNote | None:
        """Return the note of a step whose metrics are synced; steps in their order."""
        if result is not None and self._guard is not None and self._guard.action != "skip":
            self._judge(step.first, result.loss, result.grad_norm)
            note, self._note = self._note, None
            return note
        return step.note

    def error_at(self, step: PendingStep, note: StepNote | None) -> SpikeError | None:
        """Return the error that ends the attempt after a step; None if training continues."""
        if note is None or note.skipped or self._guard is None or self._guard.action != "stop":
            return None
        what = f"step {step.first} is a spike: {note}; nothing after the last checkpoint is saved"
        return SpikeError(what, at=step.first)

    def identity(self) -> dict[str, Any]:
        """Return what the identity of a checkpoint says about the steps that led to it."""
        skipped = {SKIPPED: self._skipped.to_json()} if self._skipped else {}
        return skipped | ({GUARD: self._state.to_json()} if self._guard is not None else {})

    def _judge(self, step: int, loss: float, norm: float) -> bool:
        """Judge a step, and return True if it passes without an update."""
        assert self._guard is not None
        state = self._state.with_new_window() if step in self._segments else self._state
        self._note, self._state = judge(state, loss, norm, self._guard)
        return self._note is not None and self._note.skipped
