"""The verb `publish`: released models and branch points on the Hugging Face Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lrps.base.errors import ConfigError
from lrps.cli.models import DtypeOption, MaxShardSize, export_form
from lrps.cli.options import AsJson, Overrides, Run, check_paradigms, plan_of, print_json

if TYPE_CHECKING:
    from lrps.export.publish import Published


Versions = Annotated[list[str], typer.Argument(metavar="VERSION...", help="Names of versions of the config.")]
Repo = Annotated[str, typer.Option("--repo", metavar="OWNER/NAME", help="Repository of models on the Hub.")]
Whose = Annotated[
    str | None,
    typer.Option("--paradigm", metavar="NAME", help="Whose versions; by default the first path switching."),
]
BranchPoints = Annotated[
    bool, typer.Option("--branch-points", help="Also the states that the versions' branches forked from.")
]
Private = Annotated[bool, typer.Option("--private", help="A repository that does not exist yet is made private.")]
Force = Annotated[bool, typer.Option("--force", help="Replace another state that a revision has.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be published; write nothing, here or there.")]


def publish(
    run: Run,
    versions: Versions,
    repo: Repo,
    overrides: Overrides = None,
    paradigm: Whose = None,
    branch_points: BranchPoints = False,
    private: Private = False,
    dtype: DtypeOption = None,
    max_shard_size: MaxShardSize = "5GB",
    force: Force = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Publish released versions on the Hugging Face Hub: a branch of the repository for each, `main` for the newest.

    `AutoModelForCausalLM.from_pretrained("OWNER/NAME", revision="v4")` loads a version; its README.md has lineage and
    cost. A branch point is the commit with the tag <path>-step-<N>. Models are exported first, as `lrps export` does.
    A revision that has the state already is not changed, and files that the server has are not sent again: after an
    interruption the same command continues. The token is that of `hf auth login`, or HF_TOKEN.

    lrps publish configs/small.yaml v3 v4 --repo team/small --branch-points
    """
    from lrps.base.document import to_json
    from lrps.base.numbers import size
    from lrps.costs.answers.pace import main_paradigm
    from lrps.export.publication import publications

    plan = plan_of(run, overrides)
    check_paradigms(plan, [paradigm] if paradigm else ())
    if not versions:
        raise ConfigError("name the versions to publish")
    name = paradigm or main_paradigm({each.name: each.kind for each in plan.graph.paradigms})
    chosen = publications(plan, versions, name, branch_points=branch_points)
    form = export_form(plan, dtype, max_shard_size)
    from lrps.export.hub import Hub
    from lrps.export.publish import publish_states

    def say(one: Published) -> None:
        if not as_json:
            at = "not exported yet" if one.bytes is None else size(one.bytes)
            typer.echo(f"{repo} {one.revision}: {one.path} at step {one.step}, {at}: {one.outcome}")

    published = publish_states(plan, chosen, Hub(repo), form, private=private, force=force, dry_run=dry_run, say=say)
    if as_json:
        print_json({"repo": repo, "dry_run": dry_run, "revisions": [to_json(each) for each in published]})
