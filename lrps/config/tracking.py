"""The `track` section of a config file: the trackers that get a copy of the metrics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from lrps.config.values import Int, Section


class WandbConfig(Section):
    """Options of runs in Weights & Biases. WANDB_* environment variables take precedence over these keys."""

    mode: Literal["offline", "online"] = "offline"
    """Mode of wandb: `offline` writes below the run directory, for `wandb sync` later; `online` falls back to it if the
    server cannot be reached."""
    project: Annotated[str, Field(min_length=1)] = "lrps"
    entity: str | None = None
    """Name of a user or team; by default that of the API key."""
    tags: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()
    """Tags of every run, beside those that lrps gives: the paradigms of the path, and the versions that it releases."""


class TrackConfig(Section):
    """Logging and trackers. The local metrics.jsonl is always written."""

    log_every_steps: Annotated[Int, Field(ge=1)] = 10
    trackers: tuple[Literal["wandb", "tensorboard", "trackio"], ...] = ()
    """Names of the trackers that get a copy of the metrics; by default none. tensorboard and trackio are extras:
    `pip install 'lrps[tensorboard]'`."""
    wandb: WandbConfig = WandbConfig()

    @field_validator("trackers")
    @classmethod
    def _each_once(cls, trackers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(trackers)) < len(trackers):
            raise ValueError("name each tracker once")
        return trackers
