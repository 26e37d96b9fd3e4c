"""The recorder of an attempt: rank 0 writes the ledger, metrics, terminal output and trackers with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lrps.base.errors import CallbackStopError, LedgerError, NonFiniteLoss
from lrps.base.units import hours
from lrps.data.sources import DataSource
from lrps.ledger.heldout_metrics import HeldoutMetrics
from lrps.ledger.metrics import MetricsWriter
from lrps.ledger.reader import RAW
from lrps.ledger.records import FORMAT, Record
from lrps.ledger.writer import LedgerWriter
from lrps.paths.graph import TrainingPath
from lrps.paths.path_digest import PATH_DIGEST, PathDigest
from lrps.plan.initial import initial_weights
from lrps.plan.origin import Origin
from lrps.plan.plan import Plan
from lrps.store.checkpoints import Checkpoint
from lrps.store.layout import PathLayout
from lrps.store.plugin_identity import used_plugins
from lrps.store.row_losses import write_row_losses
from lrps.track.console import TrainingConsole
from lrps.track.trackers import Spent, Trackers
from lrps.train.account import Account
from lrps.train.continuation import changed_engine
from lrps.train.evaluate import HeldoutResult
from lrps.train.metrics_window import MetricsWindow
from lrps.train.path_average import average_facts
from lrps.train.path_notices import PathNotices
from lrps.train.processor import processor_facts
from lrps.train.watches.spike_guard import StepNote

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine


class Recorder:
    """Records every step and event of one attempt, with what the account has booked by then."""

    def __init__(
        self,
        path: TrainingPath,
        layout: PathLayout,
        console: TrainingConsole,
        account: Account,
        *,
        log_every_steps: int,
        trackers: Trackers | None = None,
        notices: PathNotices | None = None,
    ) -> None:
        self.path, self.console, self.account, self._layout = path, console, account, layout
        self._tokens_per_step, self._log_every = account.rate.tokens_per_step, log_every_steps
        self._step, self._window = path.start, MetricsWindow()
        self._ledger, self._metrics = LedgerWriter(layout.ledger), MetricsWriter(layout.metrics)
        self._trackers = trackers or Trackers()
        self.notices = notices
        self.parent_loss: float | None = None
        """Finite loss of the state that the path has forked from, if it was evaluated before the first step."""

    def start(self, origin: Origin, facts: Mapping[str, Any], stop: int | None = None) -> None:
        """Record the start of the attempt. facts: device, versions, hashes and price, see `attempt_facts`.

        stop: lineage step at which the attempt ends, by default that of the path.
        """
        self._step = origin.step
        self.account.begin(origin.step)
        self._append(
            "start",
            format=FORMAT,
            path=self.path.name,
            path_start=self.path.start,
            parent=self._parent(origin),
            origin=origin.verb,
            skipped=[str(skipped) for skipped in origin.skipped],
            **({"doubtful": list(origin.doubtful)} if origin.doubtful else {}),
            processes=self.account.rate.processes,
            tokens_per_step=self._tokens_per_step,
            **self.account.take_launch_facts(),
            **facts,
        )
        self._trackers.start(origin.step)  # Before anything is printed, since a tracker may keep a console log.
        for skipped in origin.skipped:
            self.warn(f"a checkpoint that cannot be used is set aside as {skipped.aside.name}: {skipped}")
        self.console.begin(self.path.name, origin.step, self.path.stop if stop is None else stop, str(origin))

    def _parent(self, origin: Origin) -> dict[str, Any] | None:
        """Return the fork of the path, and the digest of the state that the attempt loads if it begins there."""
        fork, loaded = self.path.parent, origin.checkpoint
        if fork is None:
            return None
        digest = {"digest": loaded.digest} if origin.verb == "fork" and loaded is not None else {}
        return {"path": fork.path, "step": fork.step, **digest}

    def step(self, step: int, loss: float, lr: float, grad_norm: float | None, seconds: float) -> None:
        """Record an optimizer step that ended at lineage step `step` and took `seconds` of wall-clock time."""
        self._step = step
        self.account.step(step, seconds)
        self._window.add(loss, lr, grad_norm, seconds)
        if step % self._log_every == 0:
            self._log()

    def skip(self, first: int, step: int, note: StepNote, seconds: float) -> None:
        """Record that steps [first, step), which took `seconds` of wall-clock time, passed without an update."""
        self._step = step
        booked = self.account.skip(first, step, seconds, note.computed)
        values = {"loss": note.loss, "norm": note.norm, "z": note.z}
        self._append("skip", first=first, last=step - 1, cause=note.cause, **values, **booked)
        steps = f"step {first}" if step == first + 1 else f"steps {first} to {step - 1}"
        self.warn(f"{steps} passed without an update: {note}")
        if note.computed and self.notices is not None:  # What an amendment leaves out is no event.
            self.notices.passed(step, cause=note.cause, loss=note.loss, norm=note.norm)
        if step % self._log_every == 0 and self._window.steps:
            self._log()

    def spike(self, step: int, note: StepNote) -> None:
        """Record that a step, which was recorded as the others, is a spike."""
        self._append("spike", first=step, cause=note.cause, loss=note.loss, norm=note.norm, z=note.z)
        self.warn(f"step {step} is a spike: {note}")
        if self.notices is not None:
            self.notices.event("spike", step, cause=note.cause, loss=note.loss, norm=note.norm, skipped=False)

    def before_save(self) -> None:
        """Write everything that a checkpoint will contain to the ledger before the checkpoint exists.

        Otherwise a crash could leave a checkpoint whose steps are missing from the sums of the ledger.
        """
        if self._window.steps:
            self._log()
        self._ledger.sync()

    def _log(self) -> None:
        metrics = self._window.take(self._step, self._tokens_per_step)
        self._metrics.write(metrics)
        spent = self._append("heartbeat", loss=metrics.loss).counters
        self.console.show(metrics)
        self._trackers.log(metrics, Spent(hours(spent.allocated_seconds), spent.flops))

    def checkpoint(self, checkpoint: Checkpoint, pinned: bool) -> None:
        """Record that a checkpoint is published, of this step or of an earlier one."""
        self._append(
            "checkpoint",
            saved_step=checkpoint.step,
            bytes=checkpoint.bytes,
            directory=checkpoint.directory.name,
            digest=checkpoint.digest,
        )
        if pinned:
            self._append("branch-point", saved_step=checkpoint.step, directory=checkpoint.directory.name)
        self._ledger.sync()
        if self.notices is not None:
            self.notices.saved(checkpoint.step)

    def resumed(self, saved: Mapping[str, Any], engine: Mapping[str, Any]) -> None:
        """Show how the engine differs from the one that trained the state. saved: identity of its checkpoint."""
        if (change := changed_engine(saved, engine)) is not None:
            self.warn(change)

    def warn(self, text: str) -> None:
        """Show what went wrong without ending the attempt."""
        self.console.say(f"{self.path.name}: {text}")

    def evaluation(
        self,
        step: int,
        results: Mapping[str, HeldoutResult],
        initial_weights: str | None = None,
        form: str = RAW,
    ) -> None:
        """Record an evaluation: the losses of its sequences in files, everything else in the ledger.

        results: by held-out version. initial_weights: digest of the evaluated model if it is the one that the plan
        starts from. form: form of the weights, as in lrps.ledger.reader.
        """
        self._step = step
        whose = {} if initial_weights is None else {"initial_weights": initial_weights}
        whose |= {} if form == RAW else {"form": form}
        for heldout, result in results.items():
            files = self._row_losses(step, heldout, result, form)
            self._append("evaluation", heldout=heldout, **result.facts, **files, **whose)
        self._ledger.sync()
        facts = {name: result.facts for name, result in results.items()}
        losses = {name: result["loss"] for name, result in facts.items()}
        self.console.say(
            f"{self.path.name}: held-out loss{'' if form == RAW else f' of the {form}'} at step {step}: "
            + "  ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        )
        tokens = step * self._tokens_per_step
        self._metrics.write_heldout(HeldoutMetrics.of(step, tokens, form, facts))
        self._trackers.log_evaluation(step, tokens, facts, form)
        if self.notices is not None:
            self.notices.evaluated(step, facts, form)

    def _row_losses(self, step: int, heldout: str, result: HeldoutResult, form: str) -> dict[str, str]:
        """Write the losses of single sequences, which only comparisons of states need, and return their digest."""
        file = self._layout.row_losses(step, heldout, None if form == RAW else form)
        try:
            return {"row_losses_sha256": write_row_losses(file, result.row_losses)}
        except OSError as error:
            self.warn(f"the losses of the sequences of {heldout} at step {step} are not kept: {error}")
            return {}

    def stop(self, outcome: str, **facts: str) -> None:
        """Record that the attempt ends without an error. outcome: complete | interrupted. facts: which callback
        stopped it, and why."""
        self._append("stop", outcome=outcome, **facts)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Record an error in the ledger, unless the ledger itself cannot be written, and close all files.

        A stop by a callback is no error, and is recorded already.
        """
        if error is None or isinstance(error, CallbackStopError):
            self._close(0)
            return
        # Only the name, because a tracker may keep a console log and send it: texts of errors may contain addresses.
        self.console.say(f"{self.path.name}: {type(error).__name__} at step {self._step}")
        with suppress(LedgerError, OSError):
            self._append("failure", error=f"{type(error).__name__}: {error}", **_failed_step(error, self.parent_loss))
            self._close(1)

    def _append(self, kind: str, **facts: Any) -> Record:
        return self._ledger.append(kind, self._step, self.account.counters(), **facts)

    def _close(self, exit_code: int) -> None:
        self._ledger.sync()
        self._ledger.close()
        self._metrics.close()
        self._trackers.finish(exit_code, self._ledger.last_sha256)


def _failed_step(error: BaseException, parent_loss: float | None) -> dict[str, Any]:
    """Return the step that an attempt failed at and why, as facts of its `failure` record; none of another failure."""
    if not isinstance(error, NonFiniteLoss) or error.at is None:
        return {}
    return {"at": error.at, "cause": error.cause, **({} if parent_loss is None else {"parent_loss": parent_loss})}


def lineage_facts(path: TrainingPath, sources: Mapping[str, DataSource], tokens_per_step: int) -> dict[str, Any]:
    """Return where a path comes from and what it reads, as JSON values for trackers.

    sources: those that the path reads, by name.
    """
    return {
        "path": path.name,
        "parent": None if path.parent is None else path.parent.path,
        "branch_point_step": path.start,
        "branch_point_tokens": path.start * tokens_per_step,
        "manifests": {name: sources[name].sha256 for name in sorted(sources)},
    }


def attempt_facts(
    plan: Plan, path: TrainingPath, origin: Origin, digest: PathDigest, device: str, engine: Engine | None = None
) -> dict[str, Any]:
    """Return what the start record in the ledger says about an attempt beyond the path itself.

    origin: state that the attempt begins from. digest: that of the path up to its step. device: name of the device.
    engine: None for an attempt that fails before it has one.
    """
    config = plan.config
    identities = {name: plan.sources[name].identity for name in sorted(path.sources)}
    mixtures = {name: identity["parts"] for name, identity in identities.items() if "parts" in identity}
    hardware = config.hardware
    price = hardware.price_per_device_hour if hardware else None
    return {
        "plan": config.name,
        PATH_DIGEST: digest.to_json(),
        "device": device,
        **processor_facts(device),
        **({} if engine is None else {"parameters": engine.parameters}),
        "initial_state": initial_weights(config.model) if config.model.initial_state else None,
        "manifests": {name: identity["manifest_sha256"] for name, identity in identities.items()},
        "rows": {name: identity["rows"] for name, identity in identities.items()},
        **({"mixtures": mixtures} if mixtures else {}),
        **average_facts(config, path, origin),
        "price_per_device_hour": None if price is None else price.model_dump(mode="json"),
        **scheduler_facts(os.environ),
        **used_plugins(path, config),
        **({} if engine is None else engine.facts),
    }


def scheduler_facts(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the id of the Slurm job that the attempt runs in, and how often that job was requeued."""
    job_id = environment.get("SLURM_JOB_ID")
    if job_id is None:
        return {}
    return {"slurm": {"job_id": job_id, "restarts": int(environment.get("SLURM_RESTART_COUNT", "0"))}}
