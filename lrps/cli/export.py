"""The verb `export`: released models as Hugging Face directories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrps.base.errors import ConfigError
from lrps.cli.options import ConfigFile, Overrides
from lrps.config.values import parse_bytes

DTYPES = ("fp32", "bf16")


def export(
    config_file: ConfigFile,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH]...", help="Names of paths, as `lrps plan` shows them.")
    ] = None,
    overrides: Overrides = None,
    version: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the states of this version; without PATH, of every path.")
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(metavar="N", help="A saved step instead of the released one: an undecayed branch point of main."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Directory to write to; by default <run>/<path>/model, or model-step-N beside it."
        ),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="fp32|bf16", help="Precision of the weights; by default engine.precision.")
    ] = None,
    max_shard_size: Annotated[str, typer.Option(metavar="SIZE", help="Largest size of one file of weights.")] = "5GB",
    force: Annotated[bool, typer.Option("--force", help="Replace an export of another state or format.")] = False,
) -> None:
    """Write released models as Hugging Face directories: weights, tokenizer, generation config, model card.

    `AutoModelForCausalLM.from_pretrained(DIR)` loads them. Needs no GPU and no process group, and memory for about
    one file of weights. An existing export is not written again.
    """
    from lrps.base.numbers import size
    from lrps.export.states import chosen_states
    from lrps.plan.plan import load_plan

    plan = load_plan(config_file, overrides)
    states = chosen_states(plan, paths or (), version, step)
    if out is not None and len(states) > 1:
        raise ConfigError(f"--out takes one model, these are {len(states)}; name one path")
    kind, shard_bytes = _dtype(dtype or plan.config.engine.precision), _shard_bytes(max_shard_size)

    # Importing torch takes seconds: every mistake that can be found without it has been reported by now.
    from lrps.export.release import ExportFormat, export_state

    form = ExportFormat(kind, shard_bytes)
    for state in states:
        directory = out or state.directory(plan.layout.path(state.path.name))
        exported = export_state(plan, state, directory, form, force=force)
        told = f"{size(exported.bytes)}, {form.dtype}" if exported.made else "was there already"
        typer.echo(f"{state.path.name} at step {state.step}: {exported.directory} ({told})")


def _dtype(name: str) -> str:
    if name not in DTYPES:
        raise ConfigError(f"--dtype {name}: take {' or '.join(DTYPES)}")
    return name


def _shard_bytes(size: str) -> int:
    found = parse_bytes(size)
    if not isinstance(found, int) or found < 1:
        raise ConfigError(f"--max-shard-size {size}: give a size such as 5GB or 500MB")
    return found
