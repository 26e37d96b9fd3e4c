"""The verbs of `lrps convert`: states to and from DeepSpeed's universal format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrps.cli.options import ConfigFile, Overrides

convert_app = typer.Typer(
    help="Convert a state to DeepSpeed's universal format, for a script of your own, or from it.", no_args_is_help=True
)


@convert_app.command("to-universal")
def to_universal(
    config_file: ConfigFile,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Name of a path, as `lrps plan` shows them.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to write to; it may hold several steps.")],
    overrides: Overrides = None,
    step: Annotated[
        int | None, typer.Option("--step", metavar="N", help="The state after N steps; by default the newest.")
    ] = None,
) -> None:
    """Write a checkpoint in DeepSpeed's universal format: weights, Adam moments and step, to continue elsewhere.

    A script of your own reads it under ZeRO 1, 2 or 3, with any number of processes, fp32 or bf16:

    \b
      deepspeed.initialize(..., config={..., "checkpoint": {"load_universal": True}})
      engine.load_checkpoint(DIR, load_lr_scheduler_states=False)

    The state is exact. Learning rate, betas, eps and weight decay stay those of the script. The parameters need the
    same names, so build the model with transformers. Under ZeRO 3 DeepSpeed 0.19 gives all parameter groups one step
    counter, which torch's Adam then increments once per group; separate them after loading:

    \b
      for state in engine.optimizer.optimizer.state.values():
          state["step"] = state["step"].clone()
    """
    from lrps.engine.universal import write_universal
    from lrps.plan.plan import load_plan
    from lrps.plan.status import intact_checkpoint

    plan = load_plan(config_file, overrides)
    checkpoint = intact_checkpoint(plan, path, step)
    samples = checkpoint.step * plan.config.batch.sequences
    typer.echo(str(write_universal(checkpoint.directory, out, checkpoint.step, samples, {"lrps": checkpoint.identity})))


@convert_app.command("from-universal")
def from_universal(
    config_file: ConfigFile,
    universal: Annotated[
        Path,
        typer.Argument(
            metavar="UNIVERSAL", help="The directory of a tag, or the one in which latest_universal names it."
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Directory to write step-N to; it may hold several steps.")
    ],
    overrides: Overrides = None,
) -> None:
    """Read a state in DeepSpeed's universal format: weights, Adam moments and step, to start a plan from.

    DeepSpeed converts what a script of your own saved (ZeRO 1, 2 or 3, torch's Adam) to that format:

    \b
      python -m deepspeed.checkpoint.ds_to_universal --inject_missing_state
          --input_folder RUN/global_step480 --output_folder RUN/global_step480_universal

    The directory that is printed at the end is the one to start from, as a key of the config:

    \b
      model: {architecture: {...}, initial_state: OUT/step-00000480}

    The state is exact, and nothing in the files is run. The parameters must be those of the config's model, by name
    and shape; ZeRO 3 keeps no shapes, so there it is their number of elements. Schedules, seeds and positions in the
    data are not read: the plan starts at step 0 with its own.
    """
    from lrps.config.loader import load_config
    from lrps.engine.universal_import import import_universal

    imported = import_universal(load_config(config_file, overrides or ()).model, universal, out)
    if imported.left_out:
        typer.echo(f"left out, because it is not trained: {', '.join(imported.left_out)}", err=True)
    typer.echo(str(imported.checkpoint.directory))
