"""The one door to wandb. Imported only when the config asks for it; training never depends on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrps.config.models import Track
from lrps.track.metrics import Metrics


class WandbRun:
    """One run a path, under the same id in every attempt, grouped by plan. The lineage is in its config, since
    artifacts cannot be used offline.

    A failure to reach or start wandb is said once and ends tracking, never training.
    """

    def __init__(
        self,
        track: Track,
        *,
        plan: str,
        path: str,
        job: str,
        directory: Path,
        config: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self._say, self._failed = say, False
        self._run: Any = None
        self._attempt(lambda: self._start(track, plan, path, job, directory, config))

    def _start(self, track: Track, plan: str, path: str, job: str, directory: Path, config: Mapping[str, Any]) -> None:
        import wandb

        directory.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", track.wandb_project),
            group=os.environ.get("WANDB_RUN_GROUP", plan),
            job_type=job,
            name=path,
            id=f"{plan}-{path}",
            resume="allow",
            mode=os.environ.get("WANDB_MODE", track.wandb),  # type: ignore[arg-type]
            dir=os.environ.get("WANDB_DIR", str(directory)),
            config=dict(config),
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.define_metric("*", step_metric="tokens")

    def log(self, metrics: Metrics) -> None:
        values = {f"train/{key}": value for key, value in asdict(metrics).items() if value is not None}
        self._attempt(lambda: self._run.log(values | {"tokens": metrics.tokens}, step=metrics.step))

    def log_evaluation(self, step: int, tokens: int, losses: Mapping[str, float]) -> None:
        """losses: held-out version -> nats a token."""
        named = {f"heldout/{name}/loss": loss for name, loss in losses.items()}
        self._attempt(lambda: self._run.log(named | {"tokens": tokens}, step=step))

    def finish(self, exit_code: int) -> None:
        self._attempt(lambda: self._run.finish(exit_code=exit_code))

    def _attempt(self, act: Callable[[], Any]) -> None:
        if self._failed:
            return
        try:
            act()
        except Exception as error:
            self._failed = True
            self._say(f"wandb: {error}; training goes on without it, metrics.jsonl has everything")
