"""Arguments and options that verbs of the command line share, and how they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML file, for example configs/demo.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a key: -s schedule.peak_lr=3e-4. May be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1))
