"""The verb `prune`: which checkpoints of a run may be removed."""

from __future__ import annotations

from typing import Annotated

import typer

from lrps.cli.options import AsJson, ConfigFile, Overrides, print_json


def prune(
    config_file: ConfigFile,
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
    that a fork or a release refers to, is reported and kept. To replace it, delete it and fetch it from a copy (`lrps
    pull`); or delete it with every later checkpoint of its path, in checkpoints/ and branch_points/, and `lrps run`
    trains those steps again. States that training set aside (.damaged-step-N) are always listed, and removed with
    --damaged only.

    A path that is being trained is not touched, nor is one that the config does not know. The lock that shows this
    works on this machine, and between hosts where their file system supports locks.

    To remove a branch point that no plan needs any more, delete <run>/<path>/branch_points/step-N.
    """
    from lrps.plan.plan import load_plan
    from lrps.plan.prune import prune_run
    from lrps.report.prune_text import print_prune, prune_document

    plan = load_plan(config_file, overrides)
    pruning = prune_run(plan, dry_run=dry_run, damaged=damaged)
    if as_json:
        print_json(prune_document(plan, pruning, dry_run=dry_run))
    else:
        print_prune(plan, pruning, dry_run=dry_run)
