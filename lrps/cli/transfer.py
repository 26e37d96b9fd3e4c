"""The verbs that copy a run to another place and back."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrps.base.errors import ConfigError
from lrps.cli.options import AsJson, ConfigFile, Overrides, print_json

if TYPE_CHECKING:
    from lrps.config.models import Config

Address = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="s3://bucket/prefix, gs://..., another fsspec address, or a directory.")
]
Paths = Annotated[
    list[str] | None, typer.Option("--path", metavar="NAME", help="Only this path of the run. May be repeated.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be copied and why; copy nothing.")]


def push(
    config_file: ConfigFile,
    address: Address,
    path: Paths = None,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Copy the run to an object store or a directory, laid out as it is here.

    What is there already is skipped, and what lies there under another name is copied there: a pin costs no upload.
    A checkpoint exists there once its manifest does; interrupted, the same command goes on. A path that is being
    trained is copied as it was at its newest checkpoint. Pins and released models are never replaced, and nothing is
    deleted: retention there is up to you. Credentials come from the environment.
    """
    from lrps.report.transfer_document import print_transfer, transfer_document
    from lrps.store.copy.transfer import push_run

    config = _config(config_file, overrides)
    transfer = push_run(config.run_dir, address, path or (), dry_run=dry_run)
    document = transfer_document(transfer, "push", dry_run=dry_run)
    print_json(document) if as_json else print_transfer(document)


def pull(
    config_file: ConfigFile,
    address: Address,
    path: Paths = None,
    step: Annotated[
        int | None,
        typer.Option("--step", metavar="N", help="Of the one --path only the state after N steps, to go on from."),
    ] = None,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Copy a run from an object store or a directory into <runs>/<name>, so that `lrps run` goes on with it.

    Comes: every pin and released model, and the periodic checkpoints that checkpoint.keep_last and
    checkpoint.keep_every_steps would keep. With --path, of its ancestors the states that are forked from only: train
    such a branch with `lrps train`, as `lrps run` would go on with the ancestor from there, too.

    Every byte is compared with its SHA-256 before a checkpoint is there; interrupted, the same command goes on. A path
    that is being trained here, or that went on in both places, is refused, and nothing is copied.
    """
    from lrps.report.transfer_document import print_transfer, transfer_document
    from lrps.store.copy.subset import check_same_training, needed_to_resume
    from lrps.store.copy.transfer import pull_run

    if step is not None and len(path or ()) != 1:
        raise ConfigError("--step takes the state of one path: name it with --path")
    config = _config(config_file, overrides)
    choose = partial(
        needed_to_resume,
        paths=path or (),
        step=step,
        keep_last=config.checkpoint.keep_last,
        keep_every_steps=config.checkpoint.keep_every_steps,
    )
    transfer = pull_run(
        config.run_dir,
        address,
        lambda there, here: check_same_training(choose(there, here), config),
        dry_run=dry_run,
    )
    document = transfer_document(transfer, "pull", dry_run=dry_run)
    print_json(document) if as_json else print_transfer(document)


def _config(config_file: Path, overrides: list[str] | None) -> Config:
    from lrps.config.loader import load_config

    return load_config(config_file, overrides or ())
