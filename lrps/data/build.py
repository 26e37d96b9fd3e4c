"""From the `data` section of a config to shards: the tokenizer if there is none, then every version that has text.

What exists already stays as it is, so building again costs nothing and a new version never touches an old one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from lrps.config.models import Config, Data, Version
from lrps.data.manifest import SPLITS, Manifest, load_manifest, manifest_path
from lrps.data.tokenize import read_documents, tokenize_version
from lrps.data.tokenizer import train_tokenizer
from lrps.data.verify import Verification, verify_manifest
from lrps.errors import ConfigError, DataError


def build_data(config: Config) -> None:
    """Build what is missing and say what there is now.

    Raises ConfigError if there is nothing to build from, DataError if a version exists that other text made.
    """
    data = config.data
    with_text = [version for version in data.versions if version.text]
    if not with_text:
        raise ConfigError("no version has `text:`; name the .txt or .jsonl files that each version is made of")
    if missing := [str(path) for version in with_text for path in version.text if not path.exists()]:
        raise DataError(f"no such text: {', '.join(missing)}; correct data.versions[].text, or make the files first")
    console = Console(highlight=False)
    if not data.tokenizer_path.exists():
        _train_tokenizer(data, with_text[0], console)
    with _progress(console) as progress:
        for version in with_text:
            task = progress.add_task(version.name, total=sum(path.stat().st_size for path in version.text))
            manifests = tokenize_version(
                version.text,
                data.root,
                version.name,
                data.tokenizer_path,
                heldout_share=data.heldout_share,
                progress=lambda done, task=task: progress.advance(task, done),  # type: ignore[misc]
            )
            progress.remove_task(task)
            for manifest in manifests:
                console.print(_summary(manifest, data.sequence_length), markup=False, soft_wrap=True)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)


def _train_tokenizer(data: Data, first: Version, console: Console) -> None:
    if data.train_vocabulary is None:
        raise DataError(
            f"no tokenizer at {data.tokenizer_path}; name one with data.tokenizer, or let one be trained with "
            "data.train_vocabulary (257 means plain bytes)"
        )
    texts: Iterator[str] = (text for path in first.text for text in read_documents(path))
    identity = train_tokenizer(texts, data.train_vocabulary, data.tokenizer_path)
    console.print(
        f"trained {data.tokenizer_path} on {first.name}: {identity.vocabulary} tokens", markup=False, soft_wrap=True
    )


def _summary(manifest: Manifest, sequence_length: int) -> str:
    name = manifest.version if manifest.split == "train" else f"{manifest.version} {manifest.split}"
    return (
        f"{name}: {manifest.documents:,} documents, {manifest.tokens:,} tokens, "
        f"{manifest.rows(sequence_length):,} rows of {sequence_length} "
        f"({manifest.remainder_tokens(sequence_length):,} tokens left over), sha256 {manifest.sha256[:12]}"
    )


def verify_data(config: Config, quiet: bool = False) -> list[dict[str, Any]]:
    """Check every shard of every version that exists; one JSON-like result a manifest.

    Raises DataError if no version has shards.
    """
    candidates = [manifest_path(config.data.root, v.name, split) for v in config.data.versions for split in SPLITS]
    files = [path for path in candidates if path.exists()]
    if not files:
        raise DataError(f"no shards in {config.data.root}; run `lrps data build CONFIG` first")
    console = Console(highlight=False, quiet=quiet)
    results = []
    with _progress(console) as progress:
        task = progress.add_task("verify", total=sum(_bytes(path) for path in files))
        for path in files:
            verification = verify_manifest(path, lambda done: progress.advance(task, done))
            console.print(_verdict(verification), markup=False, soft_wrap=True)
            results.append({"manifest": str(path), "ok": verification.ok, "fault": verification.fault})
    return results


def _bytes(path: Path) -> int:
    return sum(shard.bytes for shard in load_manifest(path).shards)


def _verdict(verification: Verification) -> str:
    if not verification.ok:
        return f"{verification.manifest}: DAMAGED: {verification.fault}"
    return f"{verification.manifest}: {verification.shards} shards, {verification.blocks} blocks, every byte as written"
