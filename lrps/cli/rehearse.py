"""`lrps rehearse`: the verb that lets models write rehearsal data."""

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

    The base model goes on after demonstrations from the older version; the latest model writes the outputs again,
    greedily; a selection of that becomes token shards, as of any version, which paths read by `mix: {rehearsal: 0.1}`.
    Needs the shards of the older version, and the models: `lrps run CONFIG` trains what does not read the set, and
    says when it is this verb's turn.

    Every stage is kept in <run>/rehearsal/SET: killed at any moment, the same command goes on and gives the same bytes;
    changed settings begin anew from the first stage that they change. A set that is made stays, for all later versions.
    """
    from lrps.config.loader import load_config
    from lrps.costs.document import to_json
    from lrps.plan.plan import make_plan
    from lrps.rehearsal.outline import outline, print_outline

    plan = make_plan(load_config(config_file, overrides or ()))
    planned = outline(plan, name)
    if dry_run:
        print_json(to_json(planned)) if as_json else print_outline(planned)
        return

    # Takes seconds, for torch: after everything that can be told without it.
    from lrps.rehearsal.rehearse import made_document, print_made, rehearse_set

    manifest, made = rehearse_set(plan, name, quiet=as_json)
    document = made_document(plan, name, manifest, made)
    print_json(document) if as_json else print_made(document)
