"""The `track` of a config file: where metrics go."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from lrps.config.values import Int, Section


class WandbConfig(Section):
    """How runs are known to Weights & Biases. Every WANDB_* environment variable goes before these."""

    mode: Literal["offline", "online"] = "offline"
    """`offline` writes below the run directory, for `wandb sync` later; `online` falls back to it where the server
    cannot be reached."""
    project: Annotated[str, Field(min_length=1)] = "lrps"
    entity: str | None = None
    """A user or a team; by default that of the API key."""
    tags: tuple[str, ...] = ()


class TrackConfig(Section):
    """Where metrics go. The local metrics.jsonl is always written."""

    log_every_steps: Annotated[Int, Field(ge=1)] = 10
    trackers: tuple[Literal["wandb", "tensorboard", "trackio"], ...] = ()
    """What gets a copy; none by default. tensorboard and trackio are extras: `pip install 'lrps[tensorboard]'`."""
    wandb: WandbConfig = WandbConfig()

    @field_validator("trackers")
    @classmethod
    def _each_once(cls, trackers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(trackers)) < len(trackers):
            raise ValueError("name each tracker once")
        return trackers
