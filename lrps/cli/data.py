"""`lrps data ...`: the verbs that build, fetch, check and audit the shards of the data versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrps.base.errors import USER_MISTAKE, ConfigError
from lrps.cli.options import AsJson, ConfigFile, Overrides, Run, print_json, run_of

Versions = Annotated[
    list[str] | None, typer.Argument(metavar="VERSION", help="Only these; by default all that have `text`.")
]
Processes = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Processes at work; by default one a core, where there is enough text."),
]

data_app = typer.Typer(help="Build and check the shards of the data versions.", no_args_is_help=True)


@data_app.command("build")
def data_build(config_file: ConfigFile, overrides: Overrides = None, processes: Processes = None) -> None:
    """Tokenize the `text` of every version into shards; train the tokenizer first if the config says so.

    Versions that are built already stay as they are. After an interruption the same command goes on.
    """
    from lrps.config.loader import load_config
    from lrps.data.build.build import build_data

    build_data(load_config(config_file, overrides or ()), processes)


@data_app.command("tokenize")
def data_tokenize(
    config_file: ConfigFile,
    versions: Versions = None,
    overrides: Overrides = None,
    processes: Processes = None,
    share: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only share I of N, 1 <= I <= N, for one of N machines or array jobs."),
    ] = None,
) -> None:
    """The first half of `build`: the tokens of the text in parts, which `lrps data finalize` packs into shards.

    For many machines that see the same data.root: give each a share, as `--share $SLURM_ARRAY_TASK_ID/16`
    (launch/tokenize.sbatch). Parts that are there are not made again.
    """
    from lrps.config.loader import load_config
    from lrps.data.build.build import tokenize_data
    from lrps.data.build.tokenize import Share

    wanted = None if share is None else Share.parse(share)
    tokenize_data(load_config(config_file, overrides or ()), versions or (), wanted, processes)


@data_app.command("finalize")
def data_finalize(
    config_file: ConfigFile, versions: Versions = None, overrides: Overrides = None, processes: Processes = None
) -> None:
    """The second half of `build`: pack the parts into shards. The same bytes, whoever made the parts.

    Names the parts that are missing, if any. The parts are removed once the manifests are written.
    """
    from lrps.config.loader import load_config
    from lrps.data.build.build import finalize_data

    finalize_data(load_config(config_file, overrides or ()), versions or (), processes)


@data_app.command("fetch")
def data_fetch(
    config_file: ConfigFile,
    overrides: Overrides = None,
    shards: Annotated[
        bool, typer.Option("--shards", help="Download the shards into data.cache too, instead of when they are needed.")
    ] = False,
) -> None:
    """Copy the manifests of every version that has a `url` to data.root."""
    from lrps.config.loader import load_config
    from lrps.data.fetch import fetch_data

    fetch_data(load_config(config_file, overrides or ()), shards=shards)


@data_app.command("verify")
def data_verify(config_file: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check every byte of every shard on this machine against the manifests, several at a time."""
    from lrps.config.loader import load_config
    from lrps.data.verify import verify_data

    verifications = verify_data(load_config(config_file, overrides or ()), quiet=as_json)
    faults = [verification for verification in verifications if not verification["ok"]]
    if as_json:
        print_json({"ok": not faults, "manifests": verifications})
    if faults:
        raise typer.Exit(USER_MISTAKE)


@data_app.command("audit")
def data_audit(
    run: Run,
    overrides: Overrides = None,
    rows: Annotated[
        bool,
        typer.Option("--rows", help="Work out every single row as well, from the manifests: about 2M rows a second."),
    ] = False,
    data_root: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="For --rows: the folder of the versions, if RUN is no config."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that no row was used twice or left out along any lineage.

    Everything is worked out anew from the plan of each path and compared with the ledger and the checkpoints of the
    run: forks, steps, tokens, positions, manifests. Steps that were lost and trained again are counted apart.
    The first difference is named, with where it stands, and the exit code is 2. No weights are read, no data needed.
    """
    from rich.progress import Progress

    from lrps.audit.run import audit_run
    from lrps.report.audit_text import audit_document, print_audit

    run_dir, configured = run_of(run, overrides)
    root = data_root or configured
    if rows and root is None:
        raise ConfigError("--rows reads the manifests: say where they lie with --data DIR, or give the config as RUN")
    with Progress(transient=True, disable=as_json or not rows) as bar:
        task = bar.add_task("rows", total=None)
        audit = audit_run(
            run_dir, root if rows else None, lambda done, total: bar.update(task, completed=done, total=total)
        )
    print_json(audit_document(audit)) if as_json else print_audit(audit)
    if not audit.ok:
        raise typer.Exit(USER_MISTAKE)
