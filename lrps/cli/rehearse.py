"""The verb `rehearse`: rehearsal data that models write."""

from __future__ import annotations

from typing import Annotated

import typer

from lrps.cli.options import AsJson, ConfigFile, Overrides, print_json


def rehearse(
    config_file: ConfigFile,
    name: Annotated[str, typer.Argument(metavar="SET", help="A set of data.rehearsal that has a `synthesis`.")],
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show models, demonstrations, generations and tokens, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let models write a rehearsal set, so that a version remembers an older one (self-synthesized rehearsal, SSR).

    The base model continues demonstrations from the older version; the latest model generates the outputs again,
    greedily; a selection of them becomes token shards, which paths read by `mix: {rehearsal: 0.1}`. Needs the shards of
    the older version, and the models: `lrps run CONFIG` trains the paths that do not read the set, and prints when this
    verb is next.

    Every stage is stored in <run>/rehearsal/SET: killed at any moment, the same command continues and gives the same
    bytes; changed settings start again at the first stage that they affect. A finished set never changes and serves
    all later versions.
    """
    from lrps.plan.plan import load_plan
    from lrps.rehearsal.outline import outline, print_outline

    plan = load_plan(config_file, overrides)
    planned = outline(plan, name)
    if dry_run:
        print_json(planned) if as_json else print_outline(planned)
        return

    # Importing torch takes seconds: every mistake that can be found without it has been reported by now.
    from lrps.rehearsal.rehearse import made_document, print_made, rehearse_set

    manifest, made = rehearse_set(plan, name, quiet=as_json)
    document = made_document(plan, name, manifest, made)
    print_json(document) if as_json else print_made(document)
