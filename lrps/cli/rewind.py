"""The verb `rewind`: a path is taken back to one of its saved states, and changed from there on."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lrps.cli.completion import complete_path
from lrps.cli.options import ConfigFile, Overrides, load_plan

To = Annotated[int, typer.Option("--to", metavar="STEP", help="Step of a saved state of the path.")]
SkipSteps = Annotated[
    int, typer.Option("--skip-steps", metavar="N", help="Let N steps pass without an update: nothing is computed.")
]
SkipFrom = Annotated[
    int | None, typer.Option("--skip-from", metavar="S", help="First of these steps; by default that of --to.")
]
PeakRate = Annotated[
    float | None, typer.Option("--peak-lr", metavar="X", help="Learning rate in place of the peak of the schedule.")
]
ForSteps = Annotated[
    int | None, typer.Option("--for-steps", metavar="N", help="Length of --peak-lr in steps; by default for good.")
]
ClipNorm = Annotated[
    float | None,
    typer.Option("--clip-grad-norm", metavar="Y", help="Largest gradient norm in place of that of the config."),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Reason, kept in path.json.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask on a terminal.")]


def rewind(
    config_file: ConfigFile,
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="Name of the path, as `lrps plan` shows it.", autocompletion=complete_path),
    ],
    to: To,
    skip_steps: SkipSteps = 0,
    skip_from: SkipFrom = None,
    peak_lr: PeakRate = None,
    for_steps: ForSteps = None,
    clip_grad_norm: ClipNorm = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    overrides: Overrides = None,
) -> None:
    """Take a path back to a saved state, and change its rate, its clipping or its data from there on.

    For example, after a spike at step 51,200 of main:

        lrps rewind config.yaml main --to 51000 --skip-from 51180 --skip-steps 40 --reason "spike at 51200"

    Nothing is deleted: states beyond the step move to <run>/<path>/abandoned/<n>. The change is an amendment in
    path.json, part of the path from that step on; no fork, version boundary or other path moves, since steps that are
    skipped pass without an update and the rest of the data stays where it is. The abandoned steps are waste in the
    ledger. Branches that forked beyond the step stay as they are, and are marked as older. `lrps run` then trains on.

    On a terminal it asks before it changes anything. After an interruption the same command, or `lrps run`, completes
    it. A path that is being trained is refused.
    """
    from lrps.paths.amendments import Amendment
    from lrps.plan.rewind import preview_rewind
    from lrps.plan.rewind import rewind as rewind_path
    from lrps.report.rewind_text import rewind_lines

    amendment = Amendment(to, skip_from, skip_steps, peak_lr, for_steps, clip_grad_norm, reason)
    made = load_plan(config_file, overrides)
    found = preview_rewind(made, path, amendment)
    typer.echo("\n".join(rewind_lines(found, made.config.optimizer.clip_grad_norm)))
    if found.done or dry_run:
        typer.echo("nothing was changed")
        return
    if not yes and sys.stdin.isatty():
        typer.confirm("Take it back?", abort=True)
    rewind_path(made, path, amendment)
    typer.echo(f"done; `lrps run {config_file}` trains {path} from step {to} on")
