"""The verbs that look after the checkpoints of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from lrps.cli.options import AsJson, ConfigFile, Overrides, print_json


def prune(
    config_file: ConfigFile,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go and what it frees; remove nothing.")
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
    """Remove the checkpoints that nothing needs, and show every checkpoint of the run with the reason.

    Stays: what a fork or a release refers to, also of paths that are in the run directory only; every pinned branch
    point; the newest, which is read to the last byte before an older one goes; checkpoint.keep_last of them while a
    path is unfinished; multiples of checkpoint.keep_every_steps; what is younger than checkpoint.keep_hours.

    With --damaged what is damaged goes where an intact checkpoint of its path stays. Pinned branch points, and what a
    fork or a release refers to, are told and stay: remove one by hand and fetch it from a copy (`lrps pull`), or remove
    it with every later checkpoint of its path, in checkpoints/ and branch_points/, and `lrps run` trains them again.
    What training set aside (.damaged-step-N) is shown always, and goes with --damaged only.

    A path that is being trained is left alone, and so is one that the config does not know. The lock that tells holds
    on this machine, and between hosts where their file system has locks.

    A branch point of a path that no plan needs any more is removed by hand: delete <run>/<path>/branch_points/step-N.
    """
    from lrps.config.loader import load_config
    from lrps.plan.plan import make_plan
    from lrps.plan.prune import prune_run
    from lrps.report.prune_text import print_prune, prune_document

    plan = make_plan(load_config(config_file, overrides or ()))
    pruning = prune_run(plan, dry_run=dry_run, damaged=damaged)
    if as_json:
        print_json(prune_document(plan, pruning, dry_run=dry_run))
    else:
        print_prune(plan, pruning, dry_run=dry_run)
