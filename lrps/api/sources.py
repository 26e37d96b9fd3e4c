"""The first argument of functions of the API: a config in any form, the directory of a run, or a compiled plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.config import loader
from lrps.config.models import Config
from lrps.plan.plan import Plan, make_plan

ConfigSource = Config | Mapping[str, Any] | Path | str
"""A config: as an object, as the keys of a config file, or as the path of one."""
RunSource = Plan | ConfigSource
"""A plan, a config, or the directory of a run."""


def load_config(source: ConfigSource, overrides: Sequence[str] = ()) -> Config:
    """Return a validated config. Its plug-in files are executed.

    source: path of a config file, its keys as a mapping, or a Config. overrides: `key=value` texts, as with `-s`.
    Raises ConfigError that lists all faults, with file, line and column for a file.

    >>> config = lrps.load_config("configs/demo.yaml", ["seed=3"])
    """
    if isinstance(source, Config):
        if overrides:
            raise ConfigError("overrides change a file or a mapping; give that, or use config.model_copy")
        return source
    if isinstance(source, Mapping):
        return loader.config_of(source, overrides)
    return loader.load_config(Path(source), overrides)


def plan_from(source: RunSource, overrides: Sequence[str] = (), price: str | None = None) -> Plan:
    """Return the plan of a run. price: of a device-hour, as with `--price`: `2.5` (USD) or `2.5EUR`.

    Raises ConfigError for overrides of what is no config file, and for a text that is no price.
    """
    if price is not None:
        from lrps.costs.price import parse_price

        return replace(plan_from(source, overrides), stated_price=parse_price(price, date.today()))
    is_directory = isinstance(source, Path | str) and Path(source).is_dir()
    if overrides and (is_directory or isinstance(source, Plan)):
        raise ConfigError(f"-s changes a config file; {source} is the directory of a run: give its config file instead")
    if isinstance(source, Plan):
        return source
    if is_directory:
        from lrps.costs.recorded_plan import recorded_plan

        return recorded_plan(Path(str(source)))
    return make_plan(load_config(source, overrides))
