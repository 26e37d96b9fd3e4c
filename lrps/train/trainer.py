"""Trains one path from wherever it stands to its last step. The loop, and nothing that only some paths need."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from lrps.base.errors import CheckpointError, NonFiniteLoss
from lrps.data.stream import PathData
from lrps.engine.checkpointing import Saver, load_checkpoint, save_checkpoint
from lrps.engine.ranks import ask_rank_zero
from lrps.paths.graph import TrainingPath
from lrps.plan.origin import Origin
from lrps.plan.plan import Plan
from lrps.store.checkpoints import Checkpoint, find, pin, prune_checkpoints
from lrps.train.evaluate import evaluate_state
from lrps.train.recorder import Recorder
from lrps.train.signals import StopRequest
from lrps.train.unread import UnreadSteps
from lrps.train.upkeep import pin_fork, pin_saved, set_aside_skipped

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine


class Trainer:
    """One path on one engine. All ranks run it alike; only rank 0 has a recorder and touches shared files."""

    def __init__(
        self,
        plan: Plan,
        path: TrainingPath,
        engine: Engine,
        stage: PathData,
        *,
        missing: dict[int, list[str]],
        stop_request: StopRequest,
        recorder: Recorder | None,
    ) -> None:
        """missing: step -> held-out versions to evaluate the state of that step on."""
        self.plan, self.path, self.engine, self.stage = plan, path, engine, stage
        self.stop_request, self.recorder = stop_request, recorder
        self.layout = plan.layout.path(path.name)
        self.branch_points = plan.graph.branch_points(path.name)
        self.missing = missing
        self.saver = Saver(engine, self.layout)
        self.step = path.start
        self.saved_at, self.due = time.monotonic(), False
        self.unread = UnreadSteps(plan.config.engine.read_every)
        self.pruning_failed = False

    def run(self, origin: Origin) -> bool:
        """Train from `origin` to the path's last step and evaluate what it releases; False if asked to stop before."""
        if origin.checkpoint is not None:
            if origin.verb != "start":  # A state from elsewhere was trained as it liked; its model is checked below.
                self._check(origin, origin.checkpoint)
            # Resuming has just read every byte of its checkpoint to know that it is intact.
            load_checkpoint(self.engine, origin.checkpoint, origin.optimizer, verify=origin.verb != "resume")
        self.step = origin.step
        self._read_energy()
        ask_rank_zero(lambda: self._keep_what_is_there(origin))
        try:
            if self._some_save_is_in_flight():
                self.saver.prepare()
            if self.recorder is not None:
                self.recorder.account.started()
            finished = self._train()
        except NonFiniteLoss:
            # On all ranks, and the state in flight is a good one to go on from.
            self._publish(self.saver.finish)
            raise
        finally:
            self.saver.close()
        if finished:
            self._evaluate_earlier_states()
        return finished

    def _train(self) -> bool:
        """Every step to the path's last one; False if asked to stop before."""
        while self.step < self.path.stop:
            stop = self._train_step()
            if stop or self._save_is_due():
                self._save(stop)
            self._evaluate()
            if stop and self.step < self.path.stop:
                return False
        return True

    def _check(self, origin: Origin, checkpoint: Checkpoint) -> None:
        """CheckpointError if a checkpoint was put here that is of another plan, of another path or of other rows."""
        identity, where, step = checkpoint.identity, checkpoint.directory, checkpoint.step
        if identity.get("training_sha256") != self.plan.training_sha256:
            raise CheckpointError(
                f"{where} is of another plan ({identity.get('plan')}, path {identity.get('path')}): its model, "
                "tokenizer, optimizer, batch or seed differ; remove it"
            )
        parent = self.path.parent if origin.verb == "fork" else None
        name = self.path.name if parent is None else parent.path
        if identity.get("path") != name:
            raise CheckpointError(
                f"{where} is a state of path {identity.get('path')}, not of {name}; remove it, or put it where it was"
            )
        if parent is not None or step > self.path.stop:
            return
        here, there = self.stage.positions(step - self.path.start), identity.get("positions", {})
        if differing := [source for source in here.keys() & there.keys() if here[source] != there[source]]:
            source = min(differing)
            raise CheckpointError(
                f"{where} is at row {there[source]} of {source}, where {name} is at row {here[source]} after step "
                f"{step}: it was trained on other rows; remove it"
            )

    def _train_step(self) -> bool:
        """One optimizer step; True if any rank is known to be asked to stop."""
        self.unread.begin(time.monotonic())
        lr = self.path.schedule.lr_at(self.step)
        rows = self.stage.batch(self.step - self.path.start, self.engine.rank, self.engine.world_size)
        taken = self.engine.train_step(rows, lr=lr, seed=self.plan.config.seed, step=self.step)
        self.step += 1
        self.due = False
        self.unread.add(self.step, lr)
        logged = self.step % self.plan.config.track.log_every_steps == 0
        needed = logged or not taken or self._save_is_due() or self.step in self.missing
        return self._read() if needed or self.unread.enough else False

    def _read(self) -> bool:
        """Read and write down the steps since the last reading; True if any rank was asked to stop.

        Publishes the save in flight once all wrote it.
        """
        steps, now = self.unread, time.monotonic()
        reading = self.engine.read(
            stop=self.stop_request.seen,
            sealed=self.saver.sealed,
            due=self._clock_says_save(now),
            patience=steps.patience(now),
        )
        told = steps.take(time.monotonic(), reading.patience)
        if self.recorder is not None:
            for (step, lr, seconds), result in zip(told, reading.steps, strict=False):
                self.recorder.step(step, result.loss, lr, result.grad_norm, seconds)
        if reading.failure is not None:
            raise reading.failure
        self.due = reading.due
        if reading.sealed and not reading.stop:  # Else it is published by the save that follows.
            self._publish(self.saver.finish)
        return reading.stop

    def _clock_says_save(self, now: float) -> bool:
        """By the clock of rank 0; the ranks agree on it at a reading."""
        minutes = self.plan.config.checkpoint.every_minutes
        return self.recorder is not None and minutes is not None and now - self.saved_at >= 60 * minutes

    def _save_is_due(self) -> bool:
        every = self.plan.config.checkpoint.every_steps
        periodic = every is not None and self.step % every == 0
        return periodic or self.due or self.step in self.branch_points or self.step == self.path.stop

    def _some_save_is_in_flight(self) -> bool:
        """True if the steps to come hold a save that nothing waits for."""
        settings = self.plan.config.checkpoint
        periodic = settings.every_steps is not None or settings.every_minutes is not None
        return settings.asynchronous and (periodic or any(self.step < b < self.path.stop for b in self.branch_points))

    def _save(self, stop: bool) -> None:
        """Save the state; while it is written the steps go on, unless something waits for it."""
        self.saved_at = time.monotonic()
        earlier = self._finish_earlier(stop)
        with self._booking("saving_seconds"):
            if self.recorder is not None:
                self.recorder.before_save()
        # Whoever reads of a path's end or of an evaluation finds the state there.
        awaited = stop or self.step == self.path.stop or self.step in self.missing
        if awaited or not self.plan.config.checkpoint.asynchronous:
            self._publish(lambda: save_checkpoint(self.engine, self.layout, self.step, self._identity()), awaited=True)
        else:
            with self._booking("saving_seconds"):
                self.saver.begin(self.step, self._identity())
        if earlier is not None:
            self._warn(f"an earlier save failed, the one of step {self.step} did not: {earlier}")

    def _finish_earlier(self, stop: bool) -> Exception | None:
        """One save at a time: where the disk is slower than the steps, they wait here.

        What goes wrong with it ends the attempt, unless the ranks were asked to stop: then it is returned, on all
        ranks, for the state of this step may still be saved.
        """
        try:
            self._publish(self.saver.finish)
        except Exception as error:
            if not stop:
                raise
            return error
        return None

    def _publish(self, save: Callable[[], Checkpoint | None], awaited: bool = False) -> None:
        """Pin what other paths or releases need of what `save` gives, and prune what nothing needs any more."""
        with self._booking("saving_seconds"):
            checkpoint = save()
            if checkpoint is None:
                return
            pinned = checkpoint.step in self.branch_points
            if pinned:
                ask_rank_zero(lambda: pin(checkpoint, self.layout.branch_points))
        self._read_energy()
        if self.recorder is not None:
            self.recorder.checkpoint(checkpoint, pinned)
            # Removing gigabytes takes its time: the thread does it.
            removed = self.saver.queue(lambda: self._prune(checkpoint.step))
            if awaited:
                with self._booking("saving_seconds"):
                    removed.result()

    def _prune(self, saved: int) -> None:
        """What cannot be removed is tried again at the next save, and is no reason to end: it is told, once."""
        settings = self.plan.config.checkpoint
        # At its end a path needs its pins only.
        keep_last = 1 if saved == self.path.stop else settings.keep_last
        try:
            prune_checkpoints(self.layout.checkpoints, keep_last, settings.keep_every_steps, settings.keep_hours)
        except (CheckpointError, OSError) as error:
            if not self.pruning_failed:
                self._warn(f"old checkpoints stay: {error}")
            self.pruning_failed = True

    def _warn(self, text: str) -> None:
        if self.recorder is not None:
            self.recorder.warn(text)

    def _read_energy(self) -> None:
        """Book what the devices of all ranks have used; where one does not count, nothing."""
        joules = self.engine.used_joules()
        if joules is not None and self.recorder is not None:
            self.recorder.account.energy(joules)

    def _booking(self, counter: str) -> AbstractContextManager[None]:
        return nullcontext() if self.recorder is None else self.recorder.account.booking(counter)

    def _keep_what_is_there(self, origin: Origin) -> None:
        """Before the first step: nothing that is needed may be overtaken by retention, nothing damaged may count."""
        set_aside_skipped(origin)
        if origin.verb == "fork" and self.path.parent is not None:
            pin_fork(origin, self.path.parent.path, self.plan.layout)
        pin_saved(self.layout, self.branch_points, origin.step, self._warn)

    def _identity(self) -> dict[str, Any]:
        return {
            "plan": self.plan.config.name,
            "path": self.path.name,
            "training_sha256": self.plan.training_sha256,
            "tokens": self.step * self.plan.config.tokens_per_step,
            "positions": self.stage.positions(self.step - self.path.start),
        }

    def _evaluate(self) -> None:
        """Evaluate the engine's state if a version is released here."""
        versions = self.missing.pop(self.step, None)
        if not versions:
            return
        with self._booking("evaluating_seconds"):
            results = evaluate_state(self.plan, self.engine, versions)
        self._read_energy()
        if self.recorder is not None:
            self.recorder.evaluation(self.step, results)

    def _evaluate_earlier_states(self) -> None:
        """Held-out sets that came later than a released state: versions that were added to a finished plan."""
        for step in sorted(self.missing):
            if step != self.step:
                load_checkpoint(self.engine, find(self.layout, step))
                self.step = step
            self._evaluate()
