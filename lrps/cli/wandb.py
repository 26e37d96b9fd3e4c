"""The verbs of `lrps wandb`: lineage and dashboard, once the runs are on the server of Weights & Biases."""

from __future__ import annotations

from typing import Annotated

import typer

from lrps.cli.options import AsJson, Overrides, Run, plan_of, print_json

wandb_app = typer.Typer(
    name="wandb",
    help="Add lineage artifacts and a dashboard to runs that are on the server of Weights & Biases.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Entity = Annotated[
    str | None, typer.Option(metavar="NAME", help="User or team; else WANDB_ENTITY, track.wandb.entity, the API key's.")
]
Project = Annotated[str | None, typer.Option(metavar="NAME", help="Else WANDB_PROJECT, track.wandb.project.")]


@wandb_app.command()
def link(run: Run, overrides: Overrides = None, entity: Entity = None, project: Project = None) -> None:
    """Add the lineage as artifacts: each branch point and final checkpoint by reference, and which path forked from it.

    Artifacts are named <plan>-<path>-<mark>:step-N, where the mark (of path.json) distinguishes paths of one name. Only
    sizes and hashes of checkpoints are uploaded. Run it again after more was synced; existing artifacts stay.
    """
    from lrps.track.wandb.link import link_run

    link_run(plan_of(run, overrides), entity, project, typer.echo)


@wandb_app.command()
def workspace(
    run: Run,
    overrides: Overrides = None,
    entity: Entity = None,
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Build the dashboard: lineage, all paths over tokens, device-hours and money, held-out losses, MFU where known.

    It shows the runs of the group <plan>-<mark>, where the mark (of run.json) distinguishes runs of one name, and has
    room for every path. Makes a new view of the project each time. --json prints the specification instead and needs
    no server; before the first path is begun there is no mark yet, and it shows the group <plan>.
    """
    from lrps.track.wandb.workspace import save_workspace, workspace_spec

    plan = plan_of(run, overrides)
    if as_json:
        settings = plan.config.track.wandb
        if not plan.existing:
            typer.echo(
                "note: nothing of this plan is begun, so its group has no mark yet: make the specification again "
                "after the first step, or let `lrps wandb workspace` without --json give the run its mark",
                err=True,
            )
        print_json(workspace_spec(plan, entity or settings.entity or "", project or settings.project))
    else:
        typer.echo(save_workspace(plan, entity, project))
