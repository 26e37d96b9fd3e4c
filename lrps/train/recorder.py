"""What rank 0 writes down while a path is trained: ledger, metrics, terminal, trackers. One object an attempt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lrps.base.errors import LedgerError
from lrps.ledger.metrics import Metrics, MetricsWriter
from lrps.ledger.records import FORMAT, Record
from lrps.ledger.writer import LedgerWriter
from lrps.paths.graph import TrainingPath
from lrps.plan.initial import initial_weights
from lrps.plan.origin import Origin
from lrps.plan.plan import Plan
from lrps.store.checkpoints import Checkpoint
from lrps.store.layout import PathLayout
from lrps.track.console import TrainingConsole
from lrps.track.trackers import Spent, Trackers, open_trackers
from lrps.train.account import Account, DeviceClock, open_account

if TYPE_CHECKING:
    from lrps.data.stream import PathData
    from lrps.engine.deepspeed_engine import Engine


@dataclass
class _Window:
    """The steps since the last logged one."""

    steps: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    lr: float = 0.0
    grad_norm: float | None = None


class Recorder:
    """Writes down every step and event of one attempt, with what the account says was spent by then."""

    def __init__(
        self,
        path: TrainingPath,
        layout: PathLayout,
        console: TrainingConsole,
        account: Account,
        *,
        log_every_steps: int,
        trackers: Trackers | None = None,
    ) -> None:
        self.path, self.console, self.account = path, console, account
        self._tokens_per_step, self._log_every = account.rate.tokens_per_step, log_every_steps
        self._step, self._window = path.start, _Window()
        self._ledger, self._metrics = LedgerWriter(layout.ledger), MetricsWriter(layout.metrics)
        self._trackers = trackers or Trackers()

    def start(self, origin: Origin, facts: Mapping[str, Any]) -> None:
        """facts: what a reader needs to know the attempt by: device, versions, hashes, price."""
        self._step = origin.step
        for skipped in origin.skipped:
            self.warn(f"a checkpoint that cannot be used is set aside as {skipped.aside.name}: {skipped}")
        self.console.begin(self.path.name, origin.step, self.path.stop, str(origin))
        self.account.begin(origin.step)
        parent = self.path.parent
        self._append(
            "start",
            format=FORMAT,
            path=self.path.name,
            path_start=self.path.start,
            parent=None if parent is None else {"path": parent.path, "step": parent.step},
            origin=origin.verb,
            skipped=[str(skipped) for skipped in origin.skipped],
            processes=self.account.rate.processes,
            tokens_per_step=self._tokens_per_step,
            **facts,
        )
        self._trackers.start(origin.step)

    def step(self, step: int, loss: float, lr: float, grad_norm: float | None, seconds: float) -> None:
        """One optimizer step is done; `step` counts the steps of the lineage that are done now."""
        self._step = step
        self.account.step(step, seconds)
        window = self._window
        window.steps += 1
        window.loss_sum += loss
        window.seconds += seconds
        window.lr, window.grad_norm = lr, grad_norm
        if step % self._log_every == 0:
            self._log()

    def before_save(self) -> None:
        """What a checkpoint holds is in the ledger before the checkpoint is there, or sums could fall short."""
        if self._window.steps:
            self._log()
        self._ledger.sync()

    def _log(self) -> None:
        window, self._window = self._window, _Window()
        metrics = Metrics(
            step=self._step,
            tokens=self._step * self._tokens_per_step,
            loss=window.loss_sum / window.steps,
            lr=window.lr,
            grad_norm=window.grad_norm,
            tokens_per_second=window.steps * self._tokens_per_step / max(window.seconds, 1e-9),
        )
        self._metrics.write(metrics)
        spent = self._append("heartbeat", loss=metrics.loss).counters
        self.console.show(metrics)
        self._trackers.log(metrics, Spent(spent.allocated_seconds / 3600, spent.flops))

    def checkpoint(self, checkpoint: Checkpoint, pinned: bool) -> None:
        """A checkpoint is published, of this step or of an earlier one."""
        self._append(
            "checkpoint", saved_step=checkpoint.step, bytes=checkpoint.bytes, directory=checkpoint.directory.name
        )
        if pinned:
            self._append("branch-point", saved_step=checkpoint.step, directory=checkpoint.directory.name)
        self._ledger.sync()

    def warn(self, text: str) -> None:
        """Tell what went wrong without ending the attempt."""
        self.console.say(f"{self.path.name}: {text}")

    def evaluation(self, step: int, results: Mapping[str, Mapping[str, Any]]) -> None:
        """results: held-out version -> {loss, bits_per_byte, rows, tokens, manifest_sha256}."""
        self._step = step
        for heldout, result in results.items():
            self._append("evaluation", heldout=heldout, **result)
        self._ledger.sync()
        losses = {name: result["loss"] for name, result in results.items()}
        self.console.say(
            f"{self.path.name}: held-out loss at step {step}: "
            + "  ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        )
        self._trackers.log_evaluation(step, step * self._tokens_per_step, results)

    def stop(self, outcome: str) -> None:
        """The attempt ends as it should. outcome: complete | interrupted."""
        self._append("stop", outcome=outcome)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Whatever goes wrong is in the ledger, unless the ledger is what went wrong."""
        if error is None:
            self._close(0)
            return
        with suppress(LedgerError, OSError):
            self._append("failure", error=f"{type(error).__name__}: {error}")
            self._close(1)

    def _append(self, kind: str, **facts: Any) -> Record:
        return self._ledger.append(kind, self._step, self.account.counters(), **facts)

    def _close(self, exit_code: int) -> None:
        self._ledger.sync()
        self._ledger.close()
        self._metrics.close()
        self._trackers.finish(exit_code)


def open_recorder(
    plan: Plan, path: TrainingPath, engine: Engine, stage: PathData, console: TrainingConsole, clock: DeviceClock
) -> Recorder:
    """The recorder of a new attempt at a path, with the trackers that the config wants."""
    layout, config = plan.layout.path(path.name), plan.config
    return Recorder(
        path,
        layout,
        console,
        open_account(plan, path, stage, engine.world_size, clock),
        log_every_steps=config.track.log_every_steps,
        trackers=open_trackers(plan, path, lineage=_lineage(plan, path), devices=engine.world_size, say=console.say),
    )


def _lineage(plan: Plan, path: TrainingPath) -> dict[str, Any]:
    return {
        "path": path.name,
        "parent": None if path.parent is None else path.parent.path,
        "branch_point_step": path.start,
        "branch_point_tokens": path.start * plan.config.tokens_per_step,
        "manifests": {name: plan.manifests[name].sha256 for name in sorted(path.sources)},
    }


def attempt_facts(plan: Plan, path: TrainingPath, engine: Engine, parameters: int) -> dict[str, Any]:
    """What the ledger's start record says beyond the path itself."""
    hardware = plan.config.hardware
    price = hardware.price_per_device_hour if hardware else None
    return {
        "plan": plan.config.name,
        "device": engine.device_name,
        "parameters": parameters,
        "initial_state": initial_weights(plan.config.model) if plan.config.model.initial_state else None,
        "manifests": _lineage(plan, path)["manifests"],
        "rows": {name: plan.rows[name] for name in sorted(path.sources)},
        "price_per_device_hour": None if price is None else price.model_dump(mode="json"),
        **scheduler_facts(os.environ),
        **engine.facts,
    }


def scheduler_facts(environment: Mapping[str, str]) -> dict[str, Any]:
    """Which job of a Slurm cluster the attempt is, and how often that was queued again."""
    job_id = environment.get("SLURM_JOB_ID")
    if job_id is None:
        return {}
    return {"slurm": {"job_id": job_id, "restarts": int(environment.get("SLURM_RESTART_COUNT", "0"))}}
