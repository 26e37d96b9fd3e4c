"""The `track` section of a config file: the trackers that get a copy of the metrics, and who is notified of events."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lrps.base.addresses import SecretAddress, is_http
from lrps.config.extensions import TRACKERS, check_options
from lrps.config.values import Int, Section, choice_of

TrackerName = Annotated[str, *choice_of(TRACKERS)]


class WandbConfig(Section):
    """Options of runs in Weights & Biases. WANDB_* environment variables take precedence over these keys."""

    mode: Literal["offline", "online"] = "offline"
    """Mode of wandb: `offline` writes below the run directory, for `wandb sync` later; `online` falls back to it if the
    server cannot be reached."""
    project: Annotated[str, Field(min_length=1)] = "lrps"
    """Name of the project of the runs."""
    entity: str | None = None
    """Name of a user or team; by default that of the API key."""
    tags: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = ()
    """Tags of every run, beside those that lrps gives: the paradigms of the path, and the versions that it releases."""


class NotifyConfig(Section):
    """Webhook that is sent a JSON message when a version is finished, training fails or has a spike, or the budget is
    spent. Training neither waits for it nor fails with it."""

    url: SecretAddress | None = None
    """Address that gets the messages, http:// or https://. It may be a secret, as that of a Slack webhook is: of it,
    only the host is ever shown or written. By default the value of the variable that url_variable names."""
    url_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "LRPS_NOTIFY_URL"
    """Name of the environment variable with the address, for configs that other people read."""

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is not None and not is_http(url):
            raise ValueError("the address of a webhook begins with http:// or https:// and a host")
        return url

    @property
    def address(self) -> str | None:
        """Address that gets the messages; None if neither the config nor the environment has one."""
        return self.url or os.environ.get(self.url_variable) or None


class TrackConfig(Section):
    """Logging and trackers. The local metrics.jsonl is always written."""

    log_every_steps: Annotated[Int, Field(ge=1)] = 10
    """Number of steps between two lines of metrics.jsonl, the console and the trackers."""
    trackers: tuple[TrackerName, ...] = ()
    """Names of the trackers that get a copy of the metrics; by default none. tensorboard, trackio and mlflow are
    extras: `pip install 'lrps[tensorboard]'`. A plug-in may add others (docs/extending.md)."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of trackers that are plug-ins, by the name of the tracker."""
    wandb: WandbConfig = WandbConfig()
    """Options of Weights & Biases."""
    notify: NotifyConfig | None = None
    """Webhook for events that a person should know of; by default none."""

    @property
    def notify_address(self) -> str | None:
        """Address that gets notices; None if nobody is notified."""
        return None if self.notify is None else self.notify.address

    @field_validator("trackers")
    @classmethod
    def _each_once(cls, trackers: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(trackers)) < len(trackers):
            raise ValueError("name each tracker once")
        return trackers

    @model_validator(mode="after")
    def _options_are_taken(self) -> Self:
        for name in self.options.keys() - set(self.trackers):
            raise ValueError(f"options.{name}: there is no tracker {name} in `trackers`; add it there")
        for name in self.trackers:
            if (plugin := TRACKERS.find(name)) is not None:
                check_options(plugin, self.options.get(name, {}), "path")
            elif name in self.options:
                raise ValueError(f"options.{name}: {name} is no plug-in; its options are the keys of track.{name}")
        return self
