"""Arguments and options that several verbs share, and their JSON output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML file, for example configs/demo.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key: -s schedule.peak_lr=3e-4. May be repeated."),
]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="The directory of a run, also of a copied one, or its config file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def run_of(run: Path, overrides: Sequence[str] | None) -> tuple[Path, Path | None]:
    """Return the directory of a run and, if a config names it, the folder of its data."""
    if run.is_dir():
        return run, None
    from lrps.config.loader import load_config

    config = load_config(run, overrides or ())
    return config.run_dir, config.data.root


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1))
