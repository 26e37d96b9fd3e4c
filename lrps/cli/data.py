"""The verbs of `lrps data`, and `rehearse`: shards from text, from elsewhere and from models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrps.base.errors import USER_MISTAKE, ConfigError
from lrps.cli.completion import complete_version
from lrps.cli.options import AsJson, ConfigFile, Overrides, Run, load_config, load_plan, print_json, run_of

if TYPE_CHECKING:
    from lrps.plan.plan import Plan

Versions = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="VERSION",
        help="Only these; by default all that have `text`. A part of a mixture is VERSION.PART.",
        autocompletion=complete_version,
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Number of processes; by default one per core, if there is enough text."),
]

Preview = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Make N generations and show prompts, pieces with the reason to drop them, refined outputs, and what the "
        "whole set will take. No generation is stored.",
    ),
]
Show = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Show N documents of the set that was made, and what was dropped."),
]
ShareText = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Generate share I of N only, for one of N machines that write into the same directory, or whose files are "
        "copied into one; the command without --share then makes the set.",
    ),
]
Generating = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Number of processes that generate; by default one per GPU, or one."),
]

data_app = typer.Typer(help="Build and check the shards of the data versions.", no_args_is_help=True)


@data_app.command("build")
def data_build(
    config_file: ConfigFile, versions: Versions = None, overrides: Overrides = None, processes: Processes = None
) -> None:
    """Tokenize the `text` of every version into shards; train the tokenizer first if the config says so.

    Versions that are built already are not changed: their text is compared if it is still there, and not needed
    otherwise. After an interruption the same command continues.
    """
    from lrps.data.build.build import build_data

    build_data(load_config(config_file, overrides), versions or (), processes)


@data_app.command("tokenize")
def data_tokenize(
    config_file: ConfigFile,
    versions: Versions = None,
    overrides: Overrides = None,
    processes: Processes = None,
    share: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Tokenize share I of N only, 1 <= I <= N: one of N machines or array jobs."),
    ] = None,
) -> None:
    """Tokenize the text into parts, which `lrps data finalize` packs into shards: the first half of `build`.

    For several machines that see the same data.root: give each a share, such as `--share $SLURM_ARRAY_TASK_ID/16`
    (launch/tokenize.sbatch). Existing parts are not made again.
    """
    from lrps.data.build.build import tokenize_data
    from lrps.data.build.tokenize import Share

    wanted = None if share is None else Share.parse(share)
    tokenize_data(load_config(config_file, overrides), versions or (), wanted, processes)


@data_app.command("finalize")
def data_finalize(
    config_file: ConfigFile, versions: Versions = None, overrides: Overrides = None, processes: Processes = None
) -> None:
    """Pack the parts into shards, the same bytes whoever made the parts: the second half of `build`.

    Missing parts are named. The parts are removed once the manifests are written.
    """
    from lrps.data.build.build import finalize_data

    finalize_data(load_config(config_file, overrides), versions or (), processes)


@data_app.command("fetch")
def data_fetch(
    config_file: ConfigFile,
    overrides: Overrides = None,
    shards: Annotated[
        bool, typer.Option("--shards", help="Download the shards into data.cache too, instead of when they are needed.")
    ] = False,
) -> None:
    """Copy the manifests of every version that has a `url` to data.root."""
    from lrps.data.fetch import fetch_data

    fetch_data(load_config(config_file, overrides), shards=shards)


@data_app.command("verify")
def data_verify(config_file: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check every byte of every shard on this machine, and the tokenizer's file, against the manifests."""
    from lrps.data.verify import tokenizer_fault, verify_data

    config = load_config(config_file, overrides)
    verifications, tokenizer = verify_data(config, quiet=as_json), tokenizer_fault(config)
    ok = tokenizer is None and all(verification["ok"] for verification in verifications)
    if as_json:
        print_json({"ok": ok, "manifests": verifications, "tokenizer_fault": tokenizer})
    elif tokenizer is not None:
        typer.echo(f"DAMAGED: {tokenizer}")
    if not ok:
        raise typer.Exit(USER_MISTAKE)


@data_app.command("audit")
def data_audit(
    run: Run,
    overrides: Overrides = None,
    rows: Annotated[
        bool,
        typer.Option("--rows", help="Also compute every single row, from the manifests: about 2M rows a second."),
    ] = False,
    data_root: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Folder of the versions for --rows, if RUN is a directory."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that no row was used twice or left out along any lineage.

    Forks, steps, tokens, positions and manifests are computed again from the plan of each path and compared with the
    ledger and the checkpoints of the run. Steps that were lost and trained again are counted separately. The first
    difference is reported with its place, and the exit code is 2. Neither weights nor data are read.
    """
    from rich.progress import Progress

    from lrps.audit.run import audit_run
    from lrps.report.audit_text import audit_document, print_audit

    run_dir, configured = run_of(run, overrides)
    root = data_root or configured
    if rows and root is None:
        raise ConfigError("--rows reads the manifests: name their folder with --data DIR, or give the config as RUN")
    with Progress(transient=True, disable=as_json or not rows) as bar:
        task = bar.add_task("rows", total=None)
        audit = audit_run(
            run_dir, root if rows else None, lambda done, total: bar.update(task, completed=done, total=total)
        )
    print_json(audit_document(audit)) if as_json else print_audit(audit)
    if not audit.ok:
        raise typer.Exit(USER_MISTAKE)


@data_app.command("readers")
def data_readers(
    config_file: ConfigFile,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A version, or a set of data.rehearsal.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show the paths, releases and exports that contain a source, for text that must be withdrawn.

    From path.json, checkpoints and ledgers of the run, as `lrps data audit` reads them: along every lineage, ancestors
    included. Also shows the paths that would read it, and the rehearsal sets that models wrote after it. If the audit
    finds a difference, the list may be incomplete, and the exit code is 2.
    """
    from lrps.base.document import to_json
    from lrps.costs.readers_document import readers_document
    from lrps.report.readers_text import print_readers

    document = readers_document(load_plan(config_file, overrides), source)
    print_json(to_json(document)) if as_json else print_readers(document)
    if not document.proved:
        raise typer.Exit(USER_MISTAKE)


def rehearse(
    config_file: ConfigFile,
    name: Annotated[str, typer.Argument(metavar="SET", help="A set of data.rehearsal that has a `synthesis`.")],
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show models, demonstrations, generations and tokens, and stop.")
    ] = False,
    preview: Preview = None,
    show: Show = None,
    share: ShareText = None,
    processes: Generating = None,
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

    The repetition penalty (1.2) is on tokens of the completion only; servers apply theirs to the prompt too, so that
    none is sent by default.
    """
    if sum(given not in (None, False) for given in (dry_run, preview, show, share)) > 1:
        raise ConfigError("--dry-run, --preview, --show and --share are different things to do; give one of them")
    from lrps.base.document import to_json
    from lrps.rehearsal.outline import outline, print_outline
    from lrps.rehearsal.show import print_shown, show_set

    plan = load_plan(config_file, overrides)
    planned = outline(plan, name)
    if dry_run:
        print_json(to_json(planned)) if as_json else print_outline(planned)
    elif show is not None:
        shown = show_set(plan, name, show)
        print_json(to_json(shown)) if as_json else print_shown(shown)
    elif preview is not None:
        from lrps.rehearsal.preview import preview_set, print_preview

        previewed = preview_set(plan, name, preview)
        print_json(to_json(previewed)) if as_json else print_preview(previewed)
    else:
        _write_set(plan, name, share, processes, as_json=as_json)


def _write_set(plan: Plan, name: str, share: str | None, processes: int | None, *, as_json: bool) -> None:
    """Make a set, or a share of its generations. Importing torch takes seconds, so mistakes are found before."""
    from lrps.rehearsal.share import GenerationShare

    wanted = None if share is None else GenerationShare.parse(share)
    from lrps.rehearsal.rehearse import made_document, print_made, rehearse_set, rehearse_share

    if wanted is not None:
        said = rehearse_share(plan, name, wanted, quiet=as_json, processes=processes)
        print_json({"set": name, "share": share, "next": said}) if as_json else print(said)
        return
    manifest, made = rehearse_set(plan, name, quiet=as_json, processes=processes)
    document = made_document(plan, name, manifest, made)
    print_json(document) if as_json else print_made(document)
