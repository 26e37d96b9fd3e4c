"""What rank 0 writes down while a path is trained: ledger, metrics, terminal, wandb. One object a path and attempt."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lrps.errors import LedgerError
from lrps.ledger.records import FORMAT, Counters, LedgerWriter
from lrps.paths.graph import Path
from lrps.plan import Plan
from lrps.store.checkpoints import Checkpoint
from lrps.store.layout import PathLayout
from lrps.track.console import TrainingConsole
from lrps.track.metrics import Metrics, MetricsWriter
from lrps.train.origin import Origin

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine


@dataclass
class _Window:
    """The steps since the last logged one."""

    steps: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    lr: float = 0.0
    grad_norm: float | None = None


@dataclass
class DeviceClock:
    """From when on the devices are held for the next attempt: every second is booked on some path."""

    since: float
    """As `time.time()`: the launch of the process group, then the last record of the attempt before."""


class Recorder:
    """Books every step and event of one attempt.

    processes: of the process group; every second is booked that many times, since all of them are held.
    """

    def __init__(
        self,
        path: Path,
        layout: PathLayout,
        console: TrainingConsole,
        *,
        tokens_per_step: int,
        flops_per_token: int | None,
        processes: int,
        log_every_steps: int,
        clock: DeviceClock,
        wandb: Any = None,
    ) -> None:
        self.path, self.console = path, console
        self._tokens_per_step, self._flops = tokens_per_step, (flops_per_token or 0) * tokens_per_step
        self._processes, self._log_every, self._clock, self._since = processes, log_every_steps, clock, clock.since
        self._counters, self._window = Counters(), _Window()
        self._step = path.start
        self._ledger, self._metrics, self._wandb = LedgerWriter(layout.ledger), MetricsWriter(layout.metrics), wandb

    def start(self, origin: Origin, facts: Mapping[str, Any]) -> None:
        """facts: what a reader needs to know the attempt by: device, versions, hashes, price."""
        self._step = origin.step
        for reason in origin.skipped:
            self.console.say(f"{self.path.name}: skipped a checkpoint: {reason}")
        self.console.begin(self.path.name, origin.step, self.path.stop, str(origin))
        self._counters.starting_seconds = (time.time() - self._since) * self._processes
        parent = self.path.parent
        self._append(
            "start",
            format=FORMAT,
            path=self.path.name,
            path_start=self.path.start,
            parent=None if parent is None else {"path": parent.path, "step": parent.step},
            origin=origin.verb,
            processes=self._processes,
            tokens_per_step=self._tokens_per_step,
            **facts,
        )

    def step(self, step: int, loss: float, lr: float, grad_norm: float | None, seconds: float) -> None:
        """One optimizer step is done; `step` counts the steps of the lineage that are done now."""
        self._step = step
        counters, window = self._counters, self._window
        counters.steps += 1
        counters.tokens += self._tokens_per_step
        counters.flops += self._flops
        counters.training_seconds += seconds * self._processes
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
        self._append("heartbeat", loss=metrics.loss)
        self.console.show(metrics)
        if self._wandb is not None:
            self._wandb.log(metrics)

    @contextmanager
    def booking(self, counter: str) -> Iterator[None]:
        """Book the time inside as `saving_seconds` or `evaluating_seconds`."""
        began = time.monotonic()
        yield
        spent = getattr(self._counters, counter) + (time.monotonic() - began) * self._processes
        setattr(self._counters, counter, spent)

    def checkpoint(self, checkpoint: Checkpoint, pinned: bool) -> None:
        """A checkpoint is published, of this step or of an earlier one."""
        self._append(
            "checkpoint", saved_step=checkpoint.step, bytes=checkpoint.bytes, directory=checkpoint.directory.name
        )
        if pinned:
            self._append("branch-point", saved_step=checkpoint.step, directory=checkpoint.directory.name)
        self._ledger.sync()

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
        if self._wandb is not None:
            self._wandb.log_evaluation(step, step * self._tokens_per_step, losses)

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

    def _append(self, kind: str, **facts: Any) -> None:
        self._clock.since = time.time()
        self._counters.allocated_seconds = (self._clock.since - self._since) * self._processes
        self._ledger.append(kind, self._step, self._counters, **facts)

    def _close(self, exit_code: int) -> None:
        self._ledger.sync()
        self._ledger.close()
        self._metrics.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code)


def open_recorder(plan: Plan, path: Path, engine: Engine, console: TrainingConsole, clock: DeviceClock) -> Recorder:
    """The recorder of a new attempt at a path, with wandb where the config wants it."""
    layout, config = plan.layout.path(path.name), plan.config
    wandb: Any = None
    if config.track.wandb != "off":
        from lrps.track.wandb import WandbRun

        wandb = WandbRun(
            config.track,
            plan=config.name,
            path=path.name,
            job=path.job,
            directory=layout.directory,
            config={**config.model_dump(mode="json"), "lineage": _lineage(plan, path)},
            say=console.say,
        )
    return Recorder(
        path,
        layout,
        console,
        tokens_per_step=config.tokens_per_step,
        flops_per_token=plan.costs.flops_per_token,
        processes=engine.world_size,
        log_every_steps=config.track.log_every_steps,
        clock=clock,
        wandb=wandb,
    )


def _lineage(plan: Plan, path: Path) -> dict[str, Any]:
    return {
        "path": path.name,
        "parent": None if path.parent is None else path.parent.path,
        "branch_point_step": path.start,
        "branch_point_tokens": path.start * plan.config.tokens_per_step,
        "manifests": {name: plan.manifests[name].sha256 for name in sorted(path.sources)},
    }


def attempt_facts(plan: Plan, path: Path, engine: Engine, parameters: int) -> dict[str, Any]:
    """What the ledger's start record says beyond the path itself."""
    hardware = plan.config.hardware
    price = hardware.price_per_device_hour if hardware else None
    return {
        "plan": plan.config.name,
        "device": engine.device_name,
        "parameters": parameters,
        "manifests": _lineage(plan, path)["manifests"],
        "rows": {name: plan.rows[name] for name in sorted(path.sources)},
        "price_per_device_hour": None if price is None else price.model_dump(mode="json"),
        **engine.facts,
    }
