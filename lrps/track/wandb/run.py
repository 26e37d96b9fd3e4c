"""A tracker that sends a path to Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from lrps.config.tracking import WandbConfig
from lrps.store.marks import with_mark
from lrps.track.tracker import TrackedPath
from lrps.track.wandb.concealment import ConcealedStreams, secrets_in

INIT_TIMEOUT_SECONDS = 20.0
FINISH_TIMEOUT_SECONDS = 60.0
"""Longest time, in seconds, that devices wait for a server. Values that it did not receive stay on disk."""


def run_id(plan: str, path: str, mark: str | None) -> str:
    """Return the id of a path's run, the same in every attempt. WANDB_RUN_ID replaces the plan's name in it.

    mark: that of the path, so that a new path of the same name is another run; None for a path begun without one.
    """
    return with_mark(f"{os.environ.get('WANDB_RUN_ID', plan)}-{path}", mark)


def unless_in_environment(**settings: Any) -> dict[str, Any]:
    """Return the settings whose WANDB_* variable is not set; wandb itself reads those that are."""
    return {key: value for key, value in settings.items() if f"WANDB_{key.upper()}" not in os.environ}


class WandbRun:
    """A path as one run, with the same id in every attempt, grouped by plan; what rank 0 prints is its console log.

    Secrets of the environment are concealed in what is printed meanwhile.

    The lineage is in the run's config, since artifacts cannot be used offline (`lrps wandb link` adds them later).
    wandb drops rows whose step decreases, as it does when a path resumes from before its last logged step. So every
    call of `log` is a new row, and the axes are the values `tokens` and `step`.
    """

    name = "wandb"

    def __init__(self, settings: WandbConfig, path: TrackedPath, say: Callable[[str], None]) -> None:
        self._settings, self._path, self._say = settings, path, say
        self._run: Any = None
        self._streams: ConcealedStreams | None = None

    def start(self, _step: int) -> None:
        import wandb

        mode = os.environ.get("WANDB_MODE", self._settings.mode)
        try:
            self._run = self._init(mode)
        except (wandb.Error, OSError) as error:
            with suppress(OSError):
                wandb.teardown()  # Its service died, or still has the id of the failed start.
            if mode == "online":
                self._say(
                    f"wandb: {error}; {self._path.path} is tracked offline, send it later with "
                    f"`wandb sync {self._path.directory}/wandb/offline-run-*`"
                )
                mode = "offline"
            self._run = self._init(mode)
        self._run.define_metric("*", step_metric="tokens")
        self._streams = ConcealedStreams(secrets_in(os.environ))

    def _init(self, mode: str) -> Any:
        import wandb

        path = self._path
        path.directory.mkdir(parents=True, exist_ok=True)
        named = unless_in_environment(
            project=self._settings.project,
            entity=self._settings.entity,
            tags=[*self._settings.tags, *path.tags],
            run_group=path.group,
            job_type=path.job,
            dir=str(path.directory),
            resume="allow",
        )
        if "run_group" in named:
            named["group"] = named.pop("run_group")
        quiet = unless_in_environment(
            console="wrap", silent=True, init_timeout=INIT_TIMEOUT_SECONDS, finish_timeout=FINISH_TIMEOUT_SECONDS
        )
        prefix = os.environ.get("WANDB_NAME")
        return wandb.init(
            id=run_id(path.plan, path.path, path.mark),
            name=path.path if prefix is None else f"{prefix}-{path.path}",
            mode=mode,  # type: ignore[arg-type]
            config=dict(path.config),
            settings=wandb.Settings(**quiet),
            **named,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def finish(self, exit_code: int, ledger_sha256: str) -> None:
        if self._streams is not None:
            self._streams.restore()
        self._run.summary["ledger_sha256"] = ledger_sha256
        self._run.finish(exit_code=exit_code)
