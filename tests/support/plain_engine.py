"""An engine of one rank without DeepSpeed that really trains, saves real fragments and starts in milliseconds.

It is for tests of the files that training writes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lrps.base.errors import NonFiniteLoss
from lrps.engine.averages.averaged_weights import AveragedWeights
from lrps.engine.averages.moving_average import MovingAverage
from lrps.engine.build.placement import Placement
from lrps.engine.fragments import read_fragments
from lrps.engine.losses.heldout_losses import HeldoutLosses
from lrps.engine.metrics_sync import MetricsSync, StepResult
from lrps.engine.sequence.grid import RankGrid
from lrps.engine.state_files.reading import SavedState
from lrps.engine.update_gate import Judge
from lrps.plan.plan import Plan
from lrps.store.segments import FileSegment
from lrps.train import job
from lrps.train.saved_states import SavedSteps


class PlainEngine:
    """The part of an engine that `lrps.train` uses.

    before: called before each step with the number of steps that are done.
    """

    rank, world_size, device_name = 0, 1, "cpu"
    facts = {"world_size": 1, "zero_stage": 0, "precision": "fp32", "versions": {}}  # noqa: RUF012
    before: Callable[[int], Any] = staticmethod(lambda step: None)
    rates: Mapping[int, float] = {}
    """Rate of a step in place of the path's."""
    above: Callable[[int], float] = staticmethod(lambda step: 0.0)
    """What the reported loss of a step is above the computed one; NaN fails the step unless it is judged to pass."""

    grid = RankGrid(rank=0, ranks=1)

    def __init__(
        self,
        config: Any,
        model: torch.nn.Module,
        document_end: int | None,
        average: MovingAverage | None,
        conventions: Mapping[str, str],
    ) -> None:
        del document_end, conventions
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        adam = torch.optim.AdamW(model.parameters(), betas=config.optimizer.betas)
        self._unsynced: list[StepResult] = []
        self._failure: NonFiniteLoss | None = None
        self._held = SimpleNamespace(module=model, optimizer=adam, zero_optimization_stage=lambda: 0)
        self.average = AveragedWeights(self._held, average)

    @property
    def module(self) -> torch.nn.Module:
        return self._held.module

    def train_step(
        self,
        rows: np.ndarray,
        *,
        lr: float,
        seed: int,
        step: int,
        judge: Judge | None = None,
        clip: float = 0.0,
    ) -> bool:
        self.before(step)
        ids = torch.from_numpy(rows.astype(np.int64))
        loss = self._held.module(input_ids=ids, labels=ids).loss
        reported = float(loss.detach()) + self.above(step)
        self._unsynced.append(StepResult(reported, 1.0))
        if judge is not None and judge(reported, 1.0):
            self.average.after_step(step + 1)
            return True
        if not isfinite(reported):
            self._failure = NonFiniteLoss(f"step {step}: the loss is {reported}", at=step)
            return False
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(self._held.module.parameters(), clip)
        for group in self._held.optimizer.param_groups:
            group["lr"] = self.rates.get(step, lr)
        self._held.optimizer.step()
        self._held.optimizer.zero_grad()
        self.average.after_step(step + 1)
        return True

    def sync_metrics(
        self, *, stop: bool = False, written: bool = False, save_due: bool = False, steps_until_sync: int = 1
    ) -> MetricsSync:
        steps, self._unsynced = tuple(self._unsynced), []
        return MetricsSync(
            steps[: len(steps) - (self._failure is not None)],
            stop=stop,
            written=written,
            save_due=save_due,
            steps_until_sync=steps_until_sync,
            failure=self._failure,
        )

    def evaluate(self, rows: np.ndarray) -> HeldoutLosses:
        ids = torch.from_numpy(rows.astype(np.int64))
        with torch.no_grad():
            output = self._held.module(input_ids=ids, labels=ids)
        predicted = rows[:, 1:].size
        flat = output.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
        losses = torch.nn.functional.cross_entropy(*flat, reduction="none").reshape(len(rows), -1)
        return HeldoutLosses(float(output.loss) * predicted, predicted, losses.double().mean(1).tolist())

    def sum_over_ranks(self, values: list[float]) -> list[float]:
        return values

    def used_joules(self) -> None:
        return None

    def own_fragments(self) -> Any:
        return self.average.own_fragments()

    def hold_update(self, until: Callable[[], None]) -> None:
        until()  # Copies are made at once here.

    def read_fragments(
        self, saved: SavedState, optimizer: str = "carry", hashed: Collection[FileSegment] = ()
    ) -> dict[FileSegment, str]:
        return read_fragments(self._held, saved, optimizer, hashed)

    def close(self) -> None:
        pass


class StopAfter:
    """A request to stop that arrives after a number of steps of an attempt; None for never."""

    def __init__(self, steps: int | None = None) -> None:
        self.steps, self.reads = steps, 0

    @property
    def seen(self) -> bool:
        self.reads += 1  # It is read once before the path and once a step.
        return self.steps is not None and self.reads > self.steps


@contextmanager
def before_steps(act: Callable[[int], Any]) -> Iterator[None]:
    """Within the context, call `act` before each step with the number of steps that are done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlainEngine, "before", staticmethod(act))
        yield


@contextmanager
def broken_updates(*steps: int) -> Iterator[None]:
    """Within the context, take these steps at a rate that breaks the weights, as a failing device would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlainEngine, "rates", dict.fromkeys(steps, 1e37))
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(
    plan: Plan,
    *names: str,
    stop_after: int | None = None,
    train: bool = True,
    saved_steps: SavedSteps | None = None,
    profile: int | None = None,
) -> bool:
    """Run paths as `lrps train` does, or as `lrps evaluate` if train is False, and return False if asked to stop.

    saved_steps: steps of saved states, as in `lrps evaluate --steps`.

    Computes in one thread: more would only wait for each other on so small a model.
    stop_after: number of steps after which the request to stop arrives; only for a single path. profile: number of
    steps to profile.
    """
    with pytest.MonkeyPatch.context() as patch, _one_thread():
        patch.setattr(job, "Engine", PlainEngine)
        patch.setattr(job, "placement", lambda _: Placement())
        stop: Any = StopAfter(stop_after)
        return job.run_paths(plan, names, stop, train=train, saved_steps=saved_steps, profile=profile)
