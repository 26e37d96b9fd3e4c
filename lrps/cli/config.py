"""The verbs of `lrps config`: the resolved config, and the JSON schema of configs."""

from __future__ import annotations

import json

import typer

from lrps.cli.options import AsJson, ConfigFile, Overrides, load_config, print_json

config_app = typer.Typer(
    help="Show a config with all its defaults, or the JSON schema of configs.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@config_app.command("show")
def show_config(config_file: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print the resolved config: every key, with overrides and defaults, as YAML that lrps reads.

    Passwords, queries and commands of addresses, the path of a webhook, and shell lines for Slurm are replaced by
    `...`, as in everything that lrps writes.
    """
    from lrps.base.commented_yaml import commented_yaml

    values = load_config(config_file, overrides).model_dump(mode="json")
    print_json(values) if as_json else typer.echo(commented_yaml(values, expanded=True), nl=False)


@config_app.command()
def schema() -> None:
    """Print the JSON schema of config files, with which editors complete and check them."""
    from lrps.config.models import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=1))
