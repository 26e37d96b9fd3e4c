"""The verbs `prune`, `repair`, `push` and `pull`: what may be removed, records to mend, and copies of a run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from lrps.base.errors import ConfigError
from lrps.cli.completion import complete_path
from lrps.cli.options import AsJson, ConfigFile, Overrides, Run, load_config, load_plan, plan_of, print_json

if TYPE_CHECKING:
    from lrps.store.copy.transfer import Transfer


def repair(config_file: ConfigFile, overrides: Overrides = None) -> None:
    """Mend the records of paths that earlier versions of lrps kept under another model.architecture than the config's.

    Earlier versions recorded what transformers adds to nested keys such as rope_parameters, so that paths of one plan
    seemed to belong to different ones. A path.json is changed only if it has exactly what transformers makes of the
    config. Weights and checkpoints are not touched.
    """
    from lrps.train.repair import repair_run

    mended = repair_run(load_plan(config_file, overrides))
    typer.echo(f"mended path.json of {', '.join(mended)}" if mended else "no path.json needs a repair of this kind")


def prune(
    run: Run,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed and what that frees; remove nothing.")
    ] = False,
    damaged: Annotated[
        bool,
        typer.Option(
            "--damaged",
            help="Read every byte; also remove what is damaged, incomplete, set aside or left by an interrupted save.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the checkpoints that nothing needs, and list every checkpoint of the run with the reason.

    Kept are: what a fork or a release refers to, also of paths that exist in the run directory only; every pinned
    branch point; the newest checkpoint, which is read to the last byte before an older one is removed; the newest
    checkpoint.keep_last while a path is unfinished; multiples of checkpoint.keep_every_steps; what is younger than
    checkpoint.keep_hours.

    --damaged also removes damaged checkpoints of a path that has an intact one. A damaged state that is pinned, or
    that a fork or a release refers to, is reported and kept. To replace it, move it out of the run and fetch it from a
    copy (`lrps pull`); without a copy, move out every later checkpoint of its path as well, in checkpoints/ and
    branch_points/, and `lrps run` trains those steps again. States that training set aside (.damaged-step-N) are
    always listed, and removed with --damaged only.

    A path that is being trained is not touched, nor is one that the config does not know. The lock that shows this
    works on this machine, and between hosts where their file system supports locks.

    A branch point that this plan does not need is listed as such and kept, because another plan of the same run may
    fork there: a paradigm that is added shares the main path. If none ever will, move <run>/<path>/branch_points/step-N
    out of the run.
    """
    from lrps.plan.prune import prune_run
    from lrps.report.prune_text import print_prune, prune_document

    plan = plan_of(run, overrides)
    pruning = prune_run(plan, dry_run=dry_run, damaged=damaged)
    if as_json:
        print_json(prune_document(plan, pruning, dry_run=dry_run))
    else:
        print_prune(plan, pruning, dry_run=dry_run)


Address = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="s3://bucket/prefix, gs://..., another fsspec address, or a directory.")
]
Paths = Annotated[
    list[str] | None,
    typer.Option(
        "--path", metavar="NAME", help="Only this path of the run. May be repeated.", autocompletion=complete_path
    ),
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
    """Copy the run to an object store or a directory, in the same layout.

    Existing files are skipped, and a file that exists there under another name is copied on the server: a pin costs no
    upload. A checkpoint exists there once its manifest does; after an interruption the same command continues. A path
    that is being trained is copied as it was at its newest checkpoint. Pins and released models are never replaced, and
    nothing is deleted: retention there is up to you. Credentials come from the environment.
    """
    from lrps.store.copy.transfer import push_run

    config = load_config(config_file, overrides)
    transfer = push_run(config.run_dir, address, path or (), dry_run=dry_run)
    _show(transfer, "push", dry_run, as_json)


def pull(
    config_file: ConfigFile,
    address: Address,
    path: Paths = None,
    step: Annotated[
        int | None,
        typer.Option(
            "--step", metavar="N", help="Copy only the state after N steps of the one --path, to continue from."
        ),
    ] = None,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Copy a run from an object store or a directory into <runs>/<name>, so that `lrps run` continues it.

    Copied are: every pin and released model, and the periodic checkpoints that checkpoint.keep_last and
    checkpoint.keep_every_steps would keep. With --path, of its ancestors the states that are forked from only: train
    such a branch with `lrps train`, because `lrps run` would also continue the ancestor from there.

    Every byte is compared with its SHA-256 before a checkpoint is published; after an interruption the same command
    continues. A path that is being trained here, or that was trained further in both places, is refused, and nothing is
    copied.
    """
    from lrps.store.copy.subset import check_same_training, needed_to_resume
    from lrps.store.copy.transfer import pull_run

    if step is not None and len(path or ()) != 1:
        raise ConfigError("--step takes the state of one path: name it with --path")
    config = load_config(config_file, overrides)
    choose = partial(
        needed_to_resume,
        paths=path or (),
        step=step,
        keep_last=config.checkpoint.keep_last,
        keeps_for_rewind=config.checkpoint.keeps_for_rewind,
        keep_every_steps=config.checkpoint.keep_every_steps,
    )
    transfer = pull_run(
        config.run_dir,
        address,
        lambda there, here: check_same_training(choose(there, here), config),
        dry_run=dry_run,
    )
    _show(transfer, "pull", dry_run, as_json)


def _show(transfer: Transfer, verb: str, dry_run: bool, as_json: bool) -> None:
    from lrps.report.transfer_text import print_transfer, transfer_document

    if as_json:
        print_json(transfer_document(transfer, verb, dry_run=dry_run))
    else:
        print_transfer(transfer, verb, dry_run=dry_run)
