"""The training loop: one path from its origin to its last step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from lrps.base.errors import NonFiniteLoss, SpikeError
from lrps.config.models import Config
from lrps.data.stream import PathData
from lrps.engine.averages.merged_state import ensure_merged
from lrps.engine.checkpointing import Saver, load_checkpoint, save_checkpoint
from lrps.engine.metrics_sync import StepResult
from lrps.engine.ranks import ask_rank_zero
from lrps.paths.amendments import GENERATION, generation
from lrps.paths.graph import TrainingPath
from lrps.paths.path_digest import PATH_DIGEST, path_digest
from lrps.plan.origin import Origin
from lrps.store.checkpoints import Checkpoint, find, pin
from lrps.store.layout import RunLayout
from lrps.train.callbacks.attempt_callbacks import AttemptCallbacks
from lrps.train.evaluate import HeldoutSet, check_finite, due_sets, evaluate_forms, evaluate_state
from lrps.train.fork_check import checked_loss
from lrps.train.path_average import PathAverage, average_rule, loaded_average
from lrps.train.path_start import PathStart, pin_fork, pin_saved, set_aside_skipped
from lrps.train.pending_steps import PendingStep, PendingSteps
from lrps.train.pruning import Pruner
from lrps.train.recorder import Recorder
from lrps.train.signals import StopRequest
from lrps.train.watches.budget_watch import BudgetWatch
from lrps.train.watches.spike_guard import StepNote
from lrps.train.watches.step_watch import StepWatch

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine


class Trainer:
    """One path on one engine. All ranks run the same code; only rank 0 has a recorder and changes shared files."""

    def __init__(
        self,
        config: Config,
        path: TrainingPath,
        run_layout: RunLayout,
        engine: Engine,
        data: PathData,
        start: PathStart,
        *,
        training_sha256: str,
        heldout: Mapping[str, HeldoutSet],
        stop_request: StopRequest,
        recorder: Recorder | None,
        callbacks: AttemptCallbacks | None = None,
        budget: BudgetWatch | None = None,
        before_step: Callable[[int], None] = lambda _step: None,
    ) -> None:
        """The engine has the first state of `start`. training_sha256: digest of what all paths of the plan share.

        heldout: held-out sets by version. callbacks: those of plug-ins on this rank. budget: on rank 0, if there is
        one. before_step: called with the lineage step that every step begins at.
        """
        self.config, self.path, self.engine, self.data, self.start = config, path, engine, data, start
        self.training_sha256, self.heldout = training_sha256, heldout
        self.callbacks = callbacks or AttemptCallbacks((), config)
        self.stop_request, self.recorder, self.budget, self.before_step = stop_request, recorder, budget, before_step
        self.run_layout, self.layout = run_layout, run_layout.path(path.name)
        self.missing_evaluations, self.curve = dict(start.missing_evaluations), dict(start.curve)
        self.saver = Saver(engine, self.layout, config.checkpoint.ranks_per_file)
        self.step, self.average = path.start, PathAverage.of(average_rule(config, path), start.first_state)
        self.saved_at, self.save_due = time.monotonic(), False
        self.pending = PendingSteps(config.engine.read_every)
        self.watch = StepWatch(config.guard, path, start)
        self.pruner = Pruner(config.checkpoint, path, self.layout, self._warn)

    def run(self) -> bool:
        """Train to the path's last step and evaluate what it releases; False if asked to stop before.

        A budget that is spent asks to stop as a signal does.
        """
        first = self.start.first_state
        if first.verb == "resume" and first.checkpoint is not None and self.recorder is not None:
            self.recorder.resumed(first.checkpoint.identity, self.engine.facts)
        self._loaded(first)
        self._book_energy()
        ask_rank_zero(self._protect_checkpoints)
        try:
            if self._will_save_asynchronously():
                self.saver.prepare()
            if self.recorder is not None:
                self.recorder.account.started()
            self._check_fork()
            self._evaluate()  # The model that the plan starts from, or a state whose evaluation was broken off.
            finished = not self.start.steps_to_train or self._train()
        except (NonFiniteLoss, SpikeError):
            # On all ranks. The save in flight is of an earlier step; the next attempt decides whether it is sound.
            self._publish(self.saver.finish)
            raise
        finally:
            self.saver.close()
        if finished:
            self._evaluate_earlier_states()
            newest = min(self.start.stop, self.path.stop)  # Saved states of an unfinished path are evaluated as well.
            ask_rank_zero(lambda: self.pruner.prune(newest))  # The evaluation has confirmed the last state.
            self._evaluate_merges()
        return finished

    def _loaded(self, origin: Origin) -> None:
        """Continue from the state that the engine has just loaded."""
        self.step = origin.step
        self.average = loaded_average(self.engine, average_rule(self.config, self.path), origin)

    def _train(self) -> bool:
        """Train to the path's last step; False if asked to stop before."""
        while self.step < self.path.stop:
            self.before_step(self.step)
            stop = self._train_step()
            if stop or self._saves_now():
                self._save(stop)
            self._evaluate()
            if stop and self.step < self.path.stop:
                return False
        return True

    def _train_step(self) -> bool:
        """Take one optimizer step; True if a sync was due and any rank was asked to stop."""
        self.pending.begin(time.monotonic())
        lr = self.path.rates.lr_at(self.step)
        self.callbacks.before_step(self.step, lr)
        taken = self._leave_out_step() if self.watch.leaves_out(self.step) else self._compute_step(lr)
        note = self.watch.note_of(self.step)
        self.step += 1
        self.save_due = False
        self.pending.add(self.step, lr, note)
        self.callbacks.after_step(self.step, lr)
        logged = self.step % self.config.track.log_every_steps == 0
        evaluated = self.step in self.missing_evaluations or self.step in self.curve
        needed = logged or not taken or self._saves_now() or evaluated
        return self._sync_metrics() if needed or self.pending.sync_due else False

    def _leave_out_step(self) -> bool:
        """Let a step pass for which nothing is computed; an average of the weights counts it all the same."""
        self.engine.average.after_step(self.step + 1)
        return True

    def _compute_step(self, lr: float) -> bool:
        """Compute a step, and update the weights unless it is judged to pass; False if it ends the attempt."""
        grid = self.engine.grid
        rows = self.data.batch(self.step - self.path.start, grid.data_rank, grid.data_ranks)
        judge, clip = self.watch.judge_of(self.step), self.path.clip_at(self.step) or 0.0
        return self.engine.train_step(rows, lr=lr, seed=self.config.seed, step=self.step, judge=judge, clip=clip)

    def _sync_metrics(self) -> bool:
        """Record the steps since the last sync; True if any rank was asked to stop.

        Publishes the save in flight once all ranks have written their files.
        """
        pending, now = self.pending, time.monotonic()
        sync = self.engine.sync_metrics(
            stop=self.stop_request.seen or self.callbacks.stop is not None or self._budget_is_spent(),
            written=self.saver.written,
            save_due=self._save_interval_passed(now),
            steps_until_sync=pending.steps_until_sync(now),
        )
        self._record(pending.take(time.monotonic(), sync.steps_until_sync), sync.steps)
        if sync.failure is not None:
            raise sync.failure
        self.save_due = sync.save_due
        if sync.written and not sync.stop:  # After a stop, the save that follows publishes it.
            self._publish(self.saver.finish)
        return sync.stop

    def _record(self, taken: Sequence[tuple[PendingStep, float]], results: Iterable[StepResult]) -> None:
        """Record steps, up to the one that is not finite. Raises SpikeError on all ranks if the guard stops there."""
        left = iter(results)
        for step, seconds in taken:
            result = next(left, None) if step.computed else None
            if step.computed and result is None:
                return
            note = self.watch.noted(step, result)
            self._record_step(step, result, note, seconds)
            if (error := self.watch.error_at(step, note)) is not None:
                raise error

    def _record_step(self, step: PendingStep, result: StepResult | None, note: StepNote | None, seconds: float) -> None:
        if self.recorder is not None and note is not None and note.skipped:
            self.recorder.skip(step.first, step.step, note, seconds)
        elif result is not None and (note is None or not note.skipped):
            if self.recorder is not None:
                self.recorder.step(step.step, result.loss, step.lr, result.grad_norm, seconds)
                if note is not None:
                    self.recorder.spike(step.first, note)
            self.callbacks.measured(step.step, result, step.lr, seconds)

    def _budget_is_spent(self) -> bool:
        """Return True on rank 0 if the budget is spent; a sync passes it to all ranks, as a request to stop."""
        return self.recorder is not None and self.budget is not None and self.budget.is_spent(self.recorder.account)

    def _save_interval_passed(self, now: float) -> bool:
        """Return True if checkpoint.every_minutes have passed by the clock of rank 0; a sync passes it to all ranks."""
        minutes = self.config.checkpoint.every_minutes
        return self.recorder is not None and minutes is not None and now - self.saved_at >= 60 * minutes

    def _saves_now(self) -> bool:
        """Return True if the state of the current step is saved."""
        every = self.config.checkpoint.every_steps
        periodic = every is not None and self.step % every == 0
        return periodic or self.save_due or self.step in self.start.branch_points or self.step == self.path.stop

    def _will_save_asynchronously(self) -> bool:
        """Return True if a save that training does not wait for is to be expected."""
        settings = self.config.checkpoint
        periodic = settings.every_steps is not None or settings.every_minutes is not None
        later = any(self.step < point < self.path.stop for point in self.start.branch_points)
        return settings.asynchronous and bool(self.start.steps_to_train) and (periodic or later)

    def _save(self, stop: bool) -> None:
        """Save the state; training continues while it is written, unless something needs the checkpoint at once."""
        self.saved_at = time.monotonic()
        earlier = self._finish_earlier(stop)
        with self._booking("saving_seconds"):
            if self.recorder is not None:
                self.recorder.before_save()
            self.callbacks.log(self.step)
        # The checkpoint exists before the ledger records the path's end or an evaluation.
        awaited = stop or self.step == self.path.stop or self.step in self.missing_evaluations
        if awaited or not self.config.checkpoint.asynchronous:
            shared = self.config.checkpoint.ranks_per_file
            state = (self.engine, self.layout, self.step, self._identity())
            self._publish(lambda: save_checkpoint(*state, shared), awaited=True)
        else:
            with self._booking("saving_seconds"):
                self.saver.begin(self.step, self._identity())
        if earlier is not None:
            self._warn(f"an earlier save failed, the one of step {self.step} did not: {earlier}")

    def _finish_earlier(self, stop: bool) -> Exception | None:
        """Finish the save in flight: there is one at a time, and training waits here for a slow disk.

        An error ends the attempt, unless the ranks were asked to stop. Then it is returned, on all ranks, since the
        state of this step may still be saved.
        """
        try:
            self._publish(self.saver.finish)
        except Exception as error:
            if not stop:
                raise
            return error
        return None

    def _publish(self, save: Callable[[], Checkpoint | None], awaited: bool = False) -> None:
        """Publish the checkpoint that `save` returns, pin it at a branch point, and prune older ones."""
        with self._booking("saving_seconds"):
            checkpoint = save()
            if checkpoint is None:
                return
            pinned = checkpoint.step in self.start.branch_points
            if pinned:
                ask_rank_zero(lambda: pin(checkpoint, self.layout.branch_points), Checkpoint)
        self._book_energy()
        self.callbacks.saved(checkpoint, pinned)
        if self.recorder is not None:
            self.recorder.checkpoint(checkpoint, pinned)
            # Removing gigabytes takes seconds, so that the writer's thread does it.
            removed = self.saver.queue(lambda: self.pruner.prune(checkpoint.step))
            if awaited:
                with self._booking("saving_seconds"):
                    removed.result()

    def _warn(self, text: str) -> None:
        if self.recorder is not None:
            self.recorder.warn(text)

    def _book_energy(self) -> None:
        """Book the energy that the devices of all ranks have used, if all of them count it."""
        joules = self.engine.used_joules()
        if joules is not None and self.recorder is not None:
            self.recorder.account.energy(joules)

    def _booking(self, counter: str) -> AbstractContextManager[None]:
        return nullcontext() if self.recorder is None else self.recorder.account.booking(counter)

    def _protect_checkpoints(self) -> None:
        """Before the first step: set damaged checkpoints aside, and pin those that retention must not remove."""
        origin, parent = self.start.origin, self.path.parent
        set_aside_skipped(origin)
        if origin.verb == "fork" and parent is not None:
            pin_fork(origin, parent.path, self.run_layout)
        pin_saved(self.layout, self.start.branch_points, origin.step, self._warn)

    def _identity(self) -> dict[str, Any]:
        return {
            "plan": self.config.name,
            "path": self.path.name,
            "training_sha256": self.training_sha256,
            PATH_DIGEST: path_digest(self.path, self.step, self.start.parent_digest).to_json(),
            "tokens": self.step * self.config.tokens_per_step,
            "positions": self.data.positions(self.step - self.path.start),
            **({GENERATION: history} if (history := generation(self.path.amendments, self.step)) else {}),
            **({} if self.average is None else self.average.identity),
            **self.watch.identity(),
        }

    def _evaluate(self) -> None:
        """Evaluate the engine's state, in every form that it has, on the sets that the step needs or is watched on."""
        owed, watched = self.missing_evaluations.pop(self.step, ()), self.curve.pop(self.step, ())
        sets = due_sets(self.heldout, owed, watched)
        if not sets:
            return
        with self._booking("evaluating_seconds"):
            averaged = self.average is not None and self.average.covers(self.step)
            forms = evaluate_forms(self.engine, sets, averaged=averaged)
        self._book_energy()
        for results in forms.values():
            check_finite(results, self.step)
        initial_weights = self.start.initial_weights if self.step == 0 else None
        for form, results in forms.items():
            if self.recorder is not None:
                self.recorder.evaluation(self.step, results, initial_weights, form)
            self.callbacks.evaluated(self.step, form, results)

    def _check_fork(self) -> None:
        """Evaluate the state that the path forks from if nothing has confirmed it."""
        if self.start.fork_check is None:
            return
        with self._booking("evaluating_seconds"):
            sets = due_sets(self.heldout, (), self.start.fork_check)
            loss = checked_loss(self.engine, self.path, self.data, sets)
        if self.recorder is not None:
            self.recorder.parent_loss = loss

    def _evaluate_earlier_states(self) -> None:
        """Evaluate saved states: those released before a held-out set existed, and those that were asked for."""
        for step in sorted({*self.missing_evaluations, *self.curve}):
            if step != self.step:
                checkpoint = find(self.layout, step)
                load_checkpoint(self.engine, checkpoint)
                self._loaded(Origin("resume", step, checkpoint))
            self._evaluate()

    def _evaluate_merges(self) -> None:
        """Make the merges that the path releases, and evaluate them. The engine has the weights of one at the end."""
        for release, versions in self.start.missing_merges.items():
            with self._booking("evaluating_seconds"):
                made = ensure_merged(self.run_layout, release)
                if not versions:  # There is no held-out set.
                    continue
                load_checkpoint(self.engine, made, "reset")
                results = evaluate_state(self.engine, {version: self.heldout[version] for version in versions})
            self._book_energy()
            check_finite(results, release.step)
            if self.recorder is not None:
                self.recorder.evaluation(release.step, results, form=release.form)
            self.callbacks.evaluated(release.step, release.form, results)
