"""The data of the config: manifests, tokenizer, shards here and elsewhere, room in the cache."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lrps.base.addresses import redact
from lrps.base.errors import LrpsError
from lrps.base.numbers import short, size
from lrps.config.models import Version
from lrps.data.cache import open_files
from lrps.data.manifest import Manifest, manifest_path
from lrps.data.remote import read_pieces, resolve
from lrps.data.tokenizer import load_tokenizer
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.plan.plan import Plan, shards_command

AREA = "data"


def examine_data(subject: Subject) -> Iterator[Finding]:
    """What lies on this machine."""
    if subject.plan is None:
        return
    plan = subject.plan
    for version in plan.config.data.sources:
        manifest = plan.manifests.get(version.name)
        if manifest is None:
            what = f"no manifest in {plan.config.data.root}"
            yield Finding(AREA, version.name, "fail", what, f"run `{shards_command(version)}`")
        else:
            yield shards(plan, version, manifest)
    if plan.manifests:
        yield from _tokenizer(plan)
        yield from _cache(plan)


def shards(plan: Plan, version: Version, manifest: Manifest) -> Finding:
    """Whether every shard that lies here has its size. `lrps data verify` reads the bytes."""
    files = open_files(plan.config.data, version.name)
    there = [(shard, _size(files.find(shard)), files.find(shard)) for shard in manifest.shards]
    wrong = [str(path) for shard, found, path in there if found is not None and found != shard.bytes]
    missing = [shard.name for shard, found, _ in there if found is None]
    what = f"{short(manifest.tokens)} tokens in {len(manifest.shards)} shards"
    if wrong:
        way_out = f"{files.restore_hint} `lrps data verify CONFIG` tells what else is damaged"
        return Finding(AREA, version.name, "fail", f"{what}; {wrong[0]} is not as long as the manifest says", way_out)
    if missing and version.url is None:
        what = f"{what}; {len(missing)} are not there, {missing[0]} first"
        way_out = "restore them from where they were copied, or give the `url` of the version"
        return Finding(AREA, version.name, "fail", what, way_out)
    here = f", {len(there) - len(missing)} of them here" if version.url else ""
    return Finding(AREA, version.name, "ok", what + here)


def _size(path: Path | None) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return None if path is None else path.stat().st_size
    except FileNotFoundError:
        return None


def _tokenizer(plan: Plan) -> Iterator[Finding]:
    path = plan.config.data.tokenizer_path
    try:
        _, ours = load_tokenizer(path)
    except LrpsError as error:
        way_out = f"put the tokenizer.json that made the shards at {path}, or name it as data.tokenizer"
        yield Finding(AREA, "tokenizer", "fail", str(error), way_out)
        return
    others = [
        name
        for name, manifest in plan.manifests.items()
        if (manifest.tokenizer.sha256, manifest.tokenizer.eos) != (ours.sha256, ours.eos)
    ]
    if others:
        what = f"{path} is not the one that made the shards of {', '.join(others)}"
        yield Finding(AREA, "tokenizer", "fail", what, "give the tokenizer.json of the shards, or build them again")
    elif (vocabulary := (plan.config.model.architecture or {}).get("vocab_size", ours.vocabulary)) < ours.vocabulary:
        what = f"{ours.vocabulary} tokens, the model has room for {vocabulary}"
        yield Finding(AREA, "tokenizer", "fail", what, f"set model.architecture.vocab_size to {ours.vocabulary}")
    else:
        yield Finding(AREA, "tokenizer", "ok", f"{path}, {ours.vocabulary} tokens, that of all shards")


def _cache(plan: Plan) -> Iterator[Finding]:
    """Room for the shards that still have to come."""
    data, coming = plan.config.data, 0
    for version in data.sources:
        if version.url and (manifest := plan.manifests.get(version.name)):
            files = open_files(data, version.name)
            coming += sum(shard.bytes for shard in manifest.shards if files.find(shard) is None)
    if not coming:
        return
    there = next(place for place in (data.cache_path, *data.cache_path.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    room = free if data.cache_limit is None else min(free, data.cache_limit)
    what = f"{size(coming)} of shards are still to come, {size(free)} free in {data.cache_path}"
    what += f", limit {size(data.cache_limit)}" if data.cache_limit is not None else ""
    if free < min(coming, data.cache_limit or coming):
        way_out = "set data.cache to a larger disk, or data.cache_limit below what is free"
        yield Finding(AREA, "cache", "fail", what, way_out)
    elif room < coming:
        way_out = "raise data.cache_limit if you can: shards of versions that are read again come again"
        yield Finding(AREA, "cache", "warn", what, way_out)
    else:
        yield Finding(AREA, "cache", "ok", what)


def check_remote(subject: Subject) -> Iterator[Finding]:
    """Whether each version's `url` gives the first bytes of its first shard, or of its manifest."""
    plan = subject.plan
    for version in plan.config.data.sources if plan is not None else ():
        if version.url is None or plan is None:
            continue
        manifest = plan.manifests.get(version.name)
        relative = manifest.shards[0].url if manifest else manifest_path(Path(), version.name, "train").name
        try:
            with closing(read_pieces(resolve(version.url, relative))) as pieces:
                first = next(pieces, b"")
        except LrpsError as error:
            what, _, way_out = str(error).partition("; ")
            way_out = way_out or "check `url`, credentials and network from this host"
            yield Finding(AREA, f"{version.name} url", "fail", what, way_out)
            continue
        if first:
            yield Finding(AREA, f"{version.name} url", "ok", f"{redact(version.url)} gives {relative}")
        else:
            what, way_out = f"{redact(version.url)}: {relative} is empty", "upload the version again"
            yield Finding(AREA, f"{version.name} url", "fail", what, way_out)
