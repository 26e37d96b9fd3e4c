"""Arguments and options that several verbs share, and their JSON output."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrps.base.errors import ConfigError

if TYPE_CHECKING:
    from lrps.config.models import Config
    from lrps.plan.plan import Plan

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML file, for example configs/demo.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key: -s schedule.peak_lr=3e-4. May be repeated."),
]
Run = Annotated[
    Path, typer.Argument(metavar="CONFIG|RUN", help="A config file, or the directory of a run, also of a copied one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]

PriceOption = Annotated[
    str | None,
    typer.Option(
        "--price",
        metavar="AMOUNT",
        help="Price of a device-hour in place of any other: 2.5 (USD) or 2.5EUR.",
    ),
]


def load_config(config_file: Path, overrides: Sequence[str] | None) -> Config:
    """Return a config file with its overrides. lrps.config is imported here, so that `--help` does not wait for it."""
    from lrps.config.loader import load_config

    return load_config(config_file, overrides or ())


def load_plan(config_file: Path, overrides: Sequence[str] | None) -> Plan:
    """Return the plan of a config file with its overrides. lrps.plan is imported here, as in `load_config`.

    Warns if there is no run directory, but one beside the config file: the command was started elsewhere.
    """
    from lrps.plan.plan import load_plan

    made = load_plan(config_file, overrides)
    run_dir = made.config.run_dir
    beside = config_file.parent / run_dir
    if not run_dir.exists() and beside.is_dir():
        here, there = map(os.path.abspath, (run_dir, beside))
        typer.echo(
            f"note: there is no {here}, but {there}: paths in a config are relative to the working directory; start "
            "the command there, or make `runs` absolute",
            err=True,
        )
    return made


def plan_of(run: Path, overrides: Sequence[str] | None, price: str | None = None) -> Plan:
    """Return the plan of a config file, or of a run directory by its plan.json. price: text of `--price`.

    Raises ConfigError for overrides of a run directory, and for a text that is no price.
    """
    from lrps.api.sources import plan_from

    if run.is_dir():
        return plan_from(run, overrides or (), price)
    return plan_from(load_plan(run, overrides), (), price)


def check_paradigms(plan: Plan, names: Sequence[str] | None) -> None:
    """Raise ConfigError if `--paradigm` names one that the config does not have."""
    for name in names or ():
        if name not in plan.config.paradigms:
            raise ConfigError(f"--paradigm {name}: the config has {', '.join(plan.config.paradigms)}")


def check_selected_versions(plan: Plan, names: Sequence[str] | None) -> None:
    """Raise ConfigError if `--version` names one that the config does not have."""
    from lrps.config.data import no_version

    known = [version.name for version in plan.config.data.versions]
    for name in names or ():
        if name not in known:
            raise ConfigError(f"--version: {no_version(name, known)}")


def run_of(run: Path, overrides: Sequence[str] | None) -> tuple[Path, Path | None]:
    """Return the directory of a run and, if a config names it, the folder of its data."""
    if run.is_dir():
        return run, None
    config = load_config(run, overrides)
    return config.run_dir, config.data.root


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1))


def write_files(directory: Path, files: Mapping[str, str]) -> list[str]:
    """Write the files (name -> text) and return their paths."""
    from lrps.base.files import atomic_write_text

    try:
        for name, text in files.items():
            directory.mkdir(parents=True, exist_ok=True)
            atomic_write_text(directory / name, text)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot write there: {error}; name another directory with --out") from None
    return [str(directory / name) for name in files]
