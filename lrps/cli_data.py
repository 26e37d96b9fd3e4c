"""`lrps data ...`: the verbs that build, fetch, check and audit the shards of the data versions."""

from __future__ import annotations

import typer

from lrps.cli_options import AsJson, ConfigFile, Overrides, print_json
from lrps.errors import USER_MISTAKE

data_app = typer.Typer(help="Build and check the shards of the data versions.", no_args_is_help=True)


@data_app.command("build")
def data_build(config_file: ConfigFile, overrides: Overrides = None) -> None:
    """Tokenize the `text` of every version into shards; train the tokenizer first if the config says so.

    Versions that are built already stay as they are.
    """
    from lrps.config.loader import load_config
    from lrps.data.build import build_data

    build_data(load_config(config_file, overrides or ()))


@data_app.command("verify")
def data_verify(config_file: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check every byte of every shard against the manifests."""
    from lrps.config.loader import load_config
    from lrps.data.build import verify_data

    verifications = verify_data(load_config(config_file, overrides or ()), quiet=as_json)
    faults = [verification for verification in verifications if not verification["ok"]]
    if as_json:
        print_json({"ok": not faults, "manifests": verifications})
    if faults:
        raise typer.Exit(USER_MISTAKE)
