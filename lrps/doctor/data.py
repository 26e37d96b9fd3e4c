"""Checks of the data of a config: manifests, tokenizer, shards here and elsewhere, space for the cache."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lrps.base.addresses import redact, scheme_of
from lrps.base.errors import LrpsError
from lrps.base.numbers import short, size
from lrps.config.versions import ShardSet
from lrps.data.build.built import changed_by_settings
from lrps.data.build.trained import TrainedTokenizer, training_text
from lrps.data.cache import open_files
from lrps.data.data_tokenizer import DataTokenizer, config_tokenizer
from lrps.data.hub import download_advice
from lrps.data.manifest import Manifest, made_with_another, manifest_path
from lrps.data.remote import read_pieces, resolve
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.plan.plan import Plan

AREA = "data"


def check_data(subject: Subject) -> Iterator[Finding]:
    """Check the data that is on this machine."""
    if subject.plan is None:
        return
    plan = subject.plan
    for version in plan.config.data.shard_sets:
        manifest = plan.manifests.get(version.name)
        if manifest is None:
            what = f"no manifest in {plan.config.data.root}"
            yield Finding(AREA, version.name, "fail", what, f"run `{version.command}`")
        else:
            yield shards(plan, version, manifest)
    if plan.config.data.heldout_share:
        for name in plan.without_heldout:
            fix = "to evaluate on it, build its text as another version that holds out more (data.heldout_share)"
            yield Finding(AREA, f"{name} held out", "warn", "no whole sequence: all losses on it are n/a", fix)
    if plan.manifests or plan.config.data.tokenizer_path.exists():
        yield from _tokenizer(plan)
    if plan.manifests:
        yield from _cache(plan)


def shards(plan: Plan, version: ShardSet, manifest: Manifest) -> Finding:
    """Return whether every shard on this machine has its size; only `lrps data verify` reads the bytes."""
    files = open_files(plan.config.data, version.name)
    there = [(shard, _size(files.find(shard)), files.find(shard)) for shard in manifest.shards]
    wrong = [str(path) for shard, found, path in there if found is not None and found != shard.bytes]
    missing = [shard.name for shard, found, _ in there if found is None]
    what = f"{short(manifest.tokens)} tokens in {len(manifest.shards)} shards"
    if wrong:
        fix = f"{files.restore_hint} `lrps data verify CONFIG` lists everything else that is damaged"
        return Finding(AREA, version.name, "fail", f"{what}; {wrong[0]} is not as long as the manifest says", fix)
    if missing and version.url is None:
        what = f"{what}; {len(missing)} are missing, {missing[0]} first"
        fix = "restore them from a copy, or give the `url` of the version"
        return Finding(AREA, version.name, "fail", what, fix)
    here = f", {len(there) - len(missing)} of them here" if version.url else ""
    return Finding(AREA, version.name, "ok", what + here)


def _size(path: Path | None) -> int | None:
    """Return the bytes of a file; None if it does not exist."""
    try:
        return None if path is None else path.stat().st_size
    except FileNotFoundError:
        return None


def _tokenizer(plan: Plan) -> Iterator[Finding]:
    path = plan.config.data.tokenizer_path
    fix = f"put the tokenizer.json that made the shards at {path}, or name it as data.tokenizer"
    try:
        tokenizer = config_tokenizer(plan.config, plan.manifests.values())
        ours = tokenizer.identity
        if plan.config.data.train_vocabulary is not None:
            fix, text = "correct the config, or move it away", training_text(plan.config.data)
            TrainedTokenizer(plan.config.data).check(ours.sha256, text, used=bool(plan.manifests))
    except LrpsError as error:
        if advice := download_advice(path, "tokenizer.json", "data.tokenizer"):
            fix = f"{fix}; {advice}"
        yield Finding(AREA, "tokenizer", "fail", str(error), fix)
        return
    yield from _marks(tokenizer, plan)
    if others := made_with_another(ours.sha256, plan.manifests.values()):
        what = f"{path} is not the one that made the shards of {', '.join(others)}"
        yield Finding(AREA, "tokenizer", "fail", what, "give the tokenizer.json of the shards, or build them again")
    elif (vocabulary := (plan.config.model.architecture or {}).get("vocab_size", ours.vocabulary)) < ours.vocabulary:
        what = f"{ours.vocabulary} tokens, but the vocabulary of the model has {vocabulary}"
        yield Finding(AREA, "tokenizer", "fail", what, f"set model.architecture.vocab_size to {ours.vocabulary}")
    else:
        marks = f"EOS token {tokenizer.end}" + (f", BOS token {tokenizer.begin}" if tokenizer.begin else "")
        what = f"{path}, {ours.vocabulary} tokens, {marks}, the tokenizer of all shards"
        yield Finding(AREA, "tokenizer", "ok", what if plan.manifests else f"{what} to come")


def _marks(tokenizer: DataTokenizer, plan: Plan) -> Iterator[Finding]:
    """Check the tokens around documents, and whether settings of the tokenizer's file changed tokens of the shards."""
    if tokenizer.checkpoint_mismatch is not None:
        what, _, fix = tokenizer.checkpoint_mismatch.partition(": ")
        yield Finding(AREA, "EOS token", "fail", what, fix)
    if tokenizer.absent_begin_note is not None:
        what, _, fix = tokenizer.absent_begin_note.partition(". ")
        yield Finding(AREA, "BOS token", "warn", what, fix)
    ignored = tokenizer.file.ignored_settings
    if old := changed_by_settings(ignored, plan.manifests.values()):
        what = f"{' and '.join(ignored)} in the tokenizer's file changed the tokens of {', '.join(old)}"
        yield Finding(AREA, "tokenizer settings", "warn", what, "build the text again as another version")


def _cache(plan: Plan) -> Iterator[Finding]:
    """Check the space for the shards that are still to be fetched."""
    data, coming = plan.config.data, 0
    for version in data.shard_sets:
        if version.url and (manifest := plan.manifests.get(version.name)):
            files = open_files(data, version.name)
            coming += sum(shard.bytes for shard in manifest.shards if files.find(shard) is None)
    if not coming:
        return
    folders = (data.cache_path, *data.cache_path.absolute().parents)
    free = shutil.disk_usage(next(folder for folder in folders if folder.is_dir())).free
    usable = free if data.cache_limit is None else min(free, data.cache_limit)
    what = f"{size(coming)} of shards are still to be fetched, {size(free)} free in {data.cache_path}"
    what += f", limit {size(data.cache_limit)}" if data.cache_limit is not None else ""
    if free < min(coming, data.cache_limit or coming):
        fix = "set data.cache to a larger disk, or data.cache_limit below what is free"
        yield Finding(AREA, "cache", "fail", what, fix)
    elif usable < coming:
        fix = "raise data.cache_limit if you can; otherwise shards that are read again are fetched again"
        yield Finding(AREA, "cache", "warn", what, fix)
    else:
        yield Finding(AREA, "cache", "ok", what)


def check_remote(subject: Subject) -> Iterator[Finding]:
    """Check whether the `url` of each version gives the first bytes of its first shard, or of its manifest."""
    plan = subject.plan
    for version in plan.config.data.shard_sets if plan is not None else ():
        if version.url is None or plan is None:
            continue
        if scheme_of(version.url) == "pipe" and not subject.runs_commands:
            what = "its `url` is a command, which was not run"
            yield Finding(AREA, f"{version.name} url", "warn", what, "to run it, add --run-commands")
            continue
        manifest = plan.manifests.get(version.name)
        relative = manifest.shards[0].url if manifest else manifest_path(Path(), version.name, "train").name
        try:
            with closing(read_pieces(resolve(version.url, relative, plan.config.data.shard_origins))) as pieces:
                first = next(pieces, b"")
        except LrpsError as error:
            what, _, fix = str(error).partition("; ")
            fix = fix or "check `url`, credentials and network from this host"
            yield Finding(AREA, f"{version.name} url", "fail", what, fix)
            continue
        if first:
            yield Finding(AREA, f"{version.name} url", "ok", f"{redact(version.url)} gives {relative}")
        else:
            what, fix = f"{redact(version.url)}: {relative} is empty", "upload the version again"
            yield Finding(AREA, f"{version.name} url", "fail", what, fix)
