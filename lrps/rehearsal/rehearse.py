"""The making of a rehearsal set: all stages, then its shards, then its cost in the run's own ledger."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from lrps import __version__
from lrps.base.errors import ConfigError, DataError, GenerationError
from lrps.base.files import located, sha256_file
from lrps.base.locks import path_lock
from lrps.config.rehearsing import Endpoint, Synthesis
from lrps.data.build.encode import UnencodableTextError, check_encodes_all
from lrps.data.build.writer import TokenWriter
from lrps.data.data_tokenizer import BEGIN_TOKEN, config_tokenizer
from lrps.data.manifest import Manifest, load_manifest, manifest_path
from lrps.data.outputs import Outputs
from lrps.ledger.reader import read_ledger
from lrps.ledger.writer import book_event
from lrps.plan.plan import Plan
from lrps.rehearsal.candidates import Candidate
from lrps.rehearsal.demonstrations import MAKER
from lrps.rehearsal.generation_stage import Progress
from lrps.rehearsal.generator import default_device
from lrps.rehearsal.model_ref import base_model, latest_model
from lrps.rehearsal.outline import find_set, rehearsed, shortfall
from lrps.rehearsal.processes import default_processes, run_processes
from lrps.rehearsal.rules import ADDED, FORMER, RULES, former_penalty, rules_note
from lrps.rehearsal.selection_stage import BLOCK_TOKENS, embedding_identity, select_candidates
from lrps.rehearsal.share import GenerationShare
from lrps.rehearsal.stages import MissingSharesError, Stages

_NOT_COMPARED = {"base", "latest", "generator", "batch_size", "ratio", "embedding"}
"""Settings that may differ from those of an existing set: models are compared by hash, rows are cut by the plan."""


def rehearse_set(plan: Plan, name: str, *, quiet: bool = False, processes: int | None = None) -> tuple[Manifest, bool]:
    """Make the set, or continue to make it; return its manifest and whether this call made it.

    An existing set is kept. processes: number of processes that generate; one for each GPU by default. Raises DataError
    if it was made with other settings, and the LrpsErrors of the stages, for example for missing models, data or rows.
    """
    stages = open_stages(plan, name, quiet=quiet)
    with path_lock(stages.directory, "written"):
        path = manifest_path(plan.config.data.root, name, "train")
        if path.exists():
            manifest, made = load_manifest(path), False
            _refuse_changed(stages, manifest)
        else:
            _check(stages)
            _divide(stages, GenerationShare(0, 1), processes)
            manifest, made = _write_shards(stages, select_candidates(stages)), True
        _book(plan, stages, manifest)
    return manifest, made


def rehearse_share(
    plan: Plan, name: str, share: GenerationShare, *, quiet: bool = False, processes: int | None = None
) -> str:
    """Generate the share of one of several machines; return a sentence about what is next.

    Raises the LrpsErrors of `rehearse_set`.
    """
    stages = open_stages(plan, name, quiet=quiet)
    if manifest_path(plan.config.data.root, name, "train").exists():
        return f"{name}: already made; nothing was generated"
    _check(stages)
    _divide(stages, share, processes)
    if write_share(plan, name, share, quiet=quiet):
        return f"{name}: all shares are written; run the command without --share to make the set of them"
    return (
        f"{name}: share {share.name} is written; when the files of the others are in {located(stages.directory)} too, "
        "run the same command again"
    )


def _divide(stages: Stages, share: GenerationShare, processes: int | None) -> None:
    """Generate a share by several processes, each with a part of it; do nothing if one is enough."""
    several = default_processes() if processes is None else processes
    if several > 1:
        run_processes(write_share, stages.plan, stages.rehearsal.name, share, several)


def write_share(plan: Plan, name: str, share: GenerationShare, *, quiet: bool = True) -> bool:
    """Generate a share of the synthesis, and of the refinement if no part of the synthesis is missing.

    Return whether both have all their shares.
    """
    stages = open_stages(plan, name, quiet=quiet, share=share)
    with path_lock(stages.directory / share.name, "written"), suppress(MissingSharesError):
        _ = stages.answers if stages.synthesis.refine else stages.completions
        return True
    return False


def open_stages(plan: Plan, name: str, *, quiet: bool, share: GenerationShare | None = None) -> Stages:
    """Return the stages of a set, which show their progress unless `quiet`. Raises the errors of `find_set`."""
    rehearsal = find_set(plan, name)
    console = Console(highlight=False, quiet=quiet)
    tokenizer = config_tokenizer(plan.config, plan.manifests.values())

    @contextmanager
    def watch(stage: str, total: int) -> Iterator[Progress]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(f"{name}: {stage}", total=total)
            yield lambda count: bar.advance(task, count)
        console.print(f"{name}: {stage}: {total:,} done", markup=False, soft_wrap=True)

    return Stages(plan, rehearsal, tokenizer, watch, share)


def _check(stages: Stages) -> None:
    """Raise an LrpsError for what would fail after hours of generation: tokenizers, models, and too few prompts."""
    _refuse_other_tokenizer(stages)
    check_encodes_all(stages.encoder, stages.data_tokenizer.file)
    _ = stages.base_identity, stages.latest_identity
    name = stages.rehearsal.name
    few = shortfall(stages.plan, stages.rehearsal, len(stages.demonstrations))
    if few is not None and stages.synthesis.generations is None and stages.rules != FORMER:
        raise GenerationError(f"{name}: {few}; or set synthesis.generations to that number to try it")
    for note in (few, rules_note(stages.rules, stages.directory)):
        if note is not None:
            print(f"{name}: {note}", file=sys.stderr)


def _refuse_changed(stages: Stages, manifest: Manifest) -> None:
    found = manifest.provenance.get("settings", {})
    wanted = _settings(stages, found.get(RULES, FORMER))
    wanted["of"] = {each.version: each.sha256 for each in rehearsed(stages.plan, stages.synthesis)}
    found = {**found, "of": manifest.provenance.get("of")}
    changed = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    changed += _other_models(stages, manifest)
    if manifest.provenance.get("maker") != MAKER:
        changed.append("maker")
    if changed:
        name = stages.rehearsal.name
        raise DataError(
            f"{name} was made with other {', '.join(changed)}, and a version never changes: set the config back, or "
            "give the new set another name"
        )


def _other_models(stages: Stages, manifest: Manifest) -> list[str]:
    """Return the keys of models in the config that differ from those that made the set.

    A directory that no longer exists is ignored, and so is a release, which may have been pruned or trained again.
    """
    changed = []
    for key, find_model in (("base", base_model), ("latest", latest_model)):
        if (made_by := manifest.provenance.get(key)) is None:
            continue
        with suppress(ConfigError):
            model = find_model(stages.plan, stages.rehearsal)
            if model is not None and model.release is None:
                changed += [key] * model.differs(made_by)
    for key, server in (("base", stages.synthesis.generator), ("latest", stages.synthesis.latest)):
        made_by = manifest.provenance.get(key)
        if made_by is not None and isinstance(server, Endpoint) and server.model != made_by.get("model"):
            changed.append(key)
    return changed


def _refuse_other_tokenizer(stages: Stages) -> None:
    for manifest in rehearsed(stages.plan, stages.synthesis):
        if manifest.tokenizer.sha256 != stages.identity.sha256:
            raise DataError(
                f"version {manifest.version} was tokenized with another tokenizer than "
                f"{stages.plan.config.data.tokenizer_path}; give the one that made the shards"
            )


def _settings(stages: Stages, rules: int) -> dict[str, Any]:
    """Return the settings that make a set, in the form of its rules; a key that they lack has its default there."""
    values: dict[str, Any] = stages.synthesis.model_dump(mode="json", exclude=_NOT_COMPARED)
    values |= {"seed": stages.seed, **stages.template}
    if rules == FORMER:
        fields = Synthesis.model_fields
        values["repetition_penalty"] = former_penalty(stages.synthesis)
        return {key: value for key, value in values.items() if key not in ADDED or value != fields[key].default}
    return {**values, "repetition_penalty": stages.synthesis.penalty, RULES: rules}


def _write_shards(stages: Stages, chosen: Sequence[Candidate]) -> Manifest:
    """Write the selected candidates as the training shards of the set, one document per instance."""
    root, name = stages.plan.config.data.root, stages.rehearsal.name
    template = stages.plan.config.data.pair_template() if stages.synthesis.kind == "pairs" else None
    sizes: list[tuple[int, ...]] = []
    with TokenWriter(root, name, "train", stages.identity, block_tokens=BLOCK_TOKENS) as writer:
        for number, one in enumerate(chosen, 1):
            text = stages.form.text(one.instance)
            try:
                (tokens,) = stages.encoder.encode([text])
            except UnencodableTextError as error:
                raise DataError(f"{name}, instance {number}: {error}. Use another tokenizer.") from None
            writer.add_document(tokens, len(text.encode()))
            if template is not None and (start := template.output_start(text)) is not None:
                targets = stages.encoder.tokens_after(text, start), len(text[start:].encode())
                sizes.append((len(tokens), len(text.encode()), *targets))
        outputs = Outputs.of([np.array(sizes, np.int64)]).provenance if sizes else {}
        return writer.close(_provenance(stages) | outputs)


def _provenance(stages: Stages) -> dict[str, Any]:
    """Return the provenance of the set, without time, machine and attempts, so that equal settings give equal bytes."""
    drawn, begin = stages.files["demonstrations"].path, stages.data_tokenizer.begin
    return ({} if begin is None else {BEGIN_TOKEN: begin}) | {
        "maker": MAKER,
        "lrps": __version__,
        "settings": _settings(stages, stages.rules),
        "of": {manifest.version: manifest.sha256 for manifest in rehearsed(stages.plan, stages.synthesis)},
        "base": stages.base_identity,
        "latest": stages.latest_identity,
        "embedding": embedding_identity(stages),
        "generator": {
            "kind": "hf" if stages.base is not None else "server",
            **({"latest": "server"} if stages.synthesis.refine and stages.latest is None else {}),
            "device": default_device(),
            "batch_size": stages.synthesis.batch_size,
        },
        "demonstrations": {"documents": stages.counts["demonstrations"], "sha256": sha256_file(drawn)},
        "stages": {stage: file.key for stage, file in stages.files.items()},
        "counts": stages.counts,
    }


def _book(plan: Plan, stages: Stages, manifest: Manifest) -> None:
    """Book the cost of the set in the run's own ledger, unless a record of it exists."""
    ledger = plan.layout.ledger
    booked = (record.facts.get("manifest_sha256") for record in read_ledger(ledger) if record.kind == "rehearsal")
    if manifest.sha256 in booked or not stages.costs.exist:
        return
    facts = stages.costs.ledger_facts(set(manifest.provenance["stages"].values()))
    seconds = sum(value for key, value in facts.items() if key.endswith("_seconds"))
    price = plan.config.hardware.price_per_device_hour if plan.config.hardware else None
    book_event(
        ledger,
        "rehearsal",
        0,
        seconds,
        device=manifest.provenance["generator"]["device"],
        price=None if price is None else price.model_dump(mode="json"),
        generator=manifest.provenance["generator"]["kind"],
        set=stages.rehearsal.name,
        manifest_sha256=manifest.sha256,
        rows=manifest.rows(plan.config.data.sequence_length),
        **facts,
    )


def made_document(plan: Plan, name: str, manifest: Manifest, made: bool) -> dict[str, Any]:
    """Return the result of the command as JSON values. made: whether this call made the set."""
    return {
        "set": name,
        "made": made,
        "manifest": str(manifest_path(plan.config.data.root, name, "train")),
        "manifest_sha256": manifest.sha256,
        "documents": manifest.documents,
        "tokens": manifest.tokens,
        "rows": plan.rows[name],
        "counts": manifest.provenance["counts"],
    }


def print_made(document: Mapping[str, Any]) -> None:
    """Print the result as text, from generations to training data."""
    counts, name = document["counts"], document["set"]
    parsed, refined = counts["parsed"], counts["refined"]
    if not document["made"]:
        print(f"{name}: already made; nothing was generated")
    print(
        f"{name}: {counts['generated']:,} generations of {counts['generated_tokens']:,} tokens, "
        f"{parsed['instances']:,} instances, {refined['candidates']:,} candidates, {counts['selected']:,} selected"
    )
    if "agreed" in refined:
        alike = f"{refined['agreed']:,} of {parsed['instances']:,}"
        print(f"{name}: both models wrote the same output for {alike} instances")
    for what, stage in (("read", parsed), ("refined", refined)):
        for reason, number in {**stage["dropped"], "duplicates": stage["duplicates"]}.items():
            if number:
                print(f"{name}: dropped when {what}: {number:,} {reason}")
    print(
        f"{name}: {document['documents']:,} documents, {document['tokens']:,} tokens, {document['rows']:,} sequences "
        f"in the plan, sha256 {document['manifest_sha256'][:12]}"
    )
