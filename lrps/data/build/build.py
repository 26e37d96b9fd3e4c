"""The build of all versions of a config: the tokenizer if there is none, then the shards of every version with text.

`build_data` does all of it on this machine; `tokenize_data` and `finalize_data` are its two halves, so that the first
can be divided among many machines. Existing results are kept, so a repeated build is cheap and a new version never
changes an old one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from lrps.base.errors import ConfigError, DataError
from lrps.base.progress import byte_progress
from lrps.config.models import Config, DataConfig
from lrps.config.versions import ShardSet
from lrps.data.build.documents import Progress, parts_of, read_documents
from lrps.data.build.fingerprint import Fingerprint, fingerprint_inputs
from lrps.data.build.pool import available_processes
from lrps.data.build.tokenize import (
    Recipe,
    Share,
    TokenizeJob,
    VersionText,
    built_manifests,
    finalize_version,
    tokenize_jobs,
    unfinished_parts,
)
from lrps.data.manifest import SPLITS, Manifest, manifest_path
from lrps.data.tokenizer import load_tokenizer, train_tokenizer

BYTES_WORTH_A_PROCESS = 2**24
"""Bytes of text that justify another process: less is tokenized before the process has started."""


def build_data(config: Config, processes: int | None = None) -> None:
    """Build the missing versions and print a summary of all. processes: by default one per core, fewer for little text.

    Raises ConfigError if no version has text, DataError if a version exists that was made from other text.
    """
    console = Console(highlight=False)
    for text in version_texts(config):
        fingerprints = _fingerprints(text, text.inputs, processes, console)
        if len(built_manifests(text, fingerprints)) < len(SPLITS):
            _tokenize(text, text.jobs(fingerprints), processes, console)
        _finalize(text, fingerprints, config.data, console)


def tokenize_data(
    config: Config, names: Sequence[str] = (), share: Share | None = None, processes: int | None = None
) -> None:
    """Tokenize all versions, or the named ones, or a share of their parts; `finalize_data` packs the parts.

    Shares may run at the same time on machines with a common data.root, and repeatedly: existing parts are kept.
    """
    console = Console(highlight=False)
    for text in version_texts(config, names):
        if _is_built(config.data, text.version):
            built_manifests(text, _fingerprints(text, text.inputs, processes, console))
            console.print(f"{text.version}: already built", markup=False, soft_wrap=True)
            continue
        inputs = [path for part in (share.take(text.parts) if share else text.parts) for path in part.paths]
        _tokenize(text, text.jobs(_fingerprints(text, inputs, processes, console), share), processes, console)


def finalize_data(config: Config, names: Sequence[str] = (), processes: int | None = None) -> None:
    """Pack the parts of all versions, or of the named ones, into shards. Raises DataError if parts are missing."""
    console = Console(highlight=False)
    for text in version_texts(config, names):
        fingerprints = _fingerprints(text, text.inputs, processes, console)
        _finalize(text, fingerprints, config.data, console)


def version_texts(config: Config, names: Sequence[str] = ()) -> list[VersionText]:
    """Return the text of every version, part of a mixture and rehearsal set with `text:`, or of the named ones.

    The name of a version means all parts of its mixture. Trains the tokenizer if there is none. Raises ConfigError for
    a name without text and for a file that a version names twice, DataError for missing files.
    """
    data = config.data
    with_text = {shards.name: shards for shards in data.shard_sets if shards.text}
    if not with_text:
        raise ConfigError("no version has `text:`; list the .txt or .jsonl files of each version there")
    known = {name for shards in with_text.values() for name in (shards.name, shards.version)}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"no version {', '.join(unknown)} with `text:`; these have it: {', '.join(with_text)}")
    wanted = [shards for shards in with_text.values() if not names or {shards.name, shards.version} & {*names}]
    if missing := [str(path) for version in wanted for path in version.text if not path.exists()]:
        raise DataError(f"no such files: {', '.join(missing)}; correct data.versions[].text, or make the files first")
    for version in wanted:
        if not _is_built(data, version.name):
            _refuse_duplicate_files(version)
    if not data.tokenizer_path.exists():
        first = next(iter(with_text.values())).version
        inputs = [path for shards in with_text.values() if shards.version == first for path in shards.text]
        _train_tokenizer(data, first, inputs)
    _, identity = load_tokenizer(data.tokenizer_path)
    recipe = Recipe(data.tokenizer_path, identity, data.heldout_share, text_key=data.text_key)
    return [VersionText(data.root, version.name, version.text, recipe) for version in wanted]


def _is_built(data: DataConfig, version: str) -> bool:
    return all(manifest_path(data.root, version, split).exists() for split in SPLITS)


def _refuse_duplicate_files(version: ShardSet) -> None:
    files: dict[Path, Path] = {}
    for path in version.text:
        if (other := files.setdefault(path.resolve(), path)) is not path:
            same = f"{path} twice" if other == path else f"{other} and {path}, which are the same file"
            raise ConfigError(f"the text of {version.name} names {same}: remove one of them from its `text:`")


def _fingerprints(
    text: VersionText, inputs: Sequence[Path], processes: int | None, console: Console
) -> dict[Path, Fingerprint]:
    total = sum(path.stat().st_size for path in set(inputs))
    with _bar(console, f"{text.version}: hashing", total) as progress:
        return fingerprint_inputs(inputs, _processes(processes, total), progress)


def _tokenize(text: VersionText, jobs: Sequence[TokenizeJob], processes: int | None, console: Console) -> None:
    missing = unfinished_parts(jobs)
    total, left = (sum(job.part.bytes for job in some) for some in (jobs, missing))
    start = time.monotonic()
    with _bar(console, f"{text.version}: tokenizing", total, total - left) as progress:
        tokenize_jobs(missing, text.recipe, _processes(processes, left), progress)
    seconds = time.monotonic() - start
    kept = f", {len(jobs) - len(missing)} existed" if len(missing) < len(jobs) else ""
    speed = f"{left / 1e6:,.1f} MB of input in {seconds:,.1f} s ({left / 1e6 / seconds:,.1f} MB/s)"
    console.print(
        f"{text.version}: {len(missing)} of {len(jobs)} parts tokenized{kept}: {speed}", markup=False, soft_wrap=True
    )


def _finalize(text: VersionText, fingerprints: Mapping[Path, Fingerprint], data: DataConfig, console: Console) -> None:
    with _bar(console, f"{text.version}: packing", sum(part.bytes for part in text.parts)) as progress:
        manifests = finalize_version(text, fingerprints, progress)
    for manifest in manifests:
        console.print(_summary(manifest, data.sequence_length), markup=False, soft_wrap=True)
    evaluated = [shards.name for version in data.versions for shards in version.shard_sets]
    if text.version in evaluated and not manifests[1].rows(data.sequence_length):
        console.print(_nothing_held_out(manifests[1], data), markup=False, soft_wrap=True)
    if empty := manifests[0].provenance["empty_documents"]:
        console.print(f"{text.version}: {empty:,} empty documents left out", markup=False, soft_wrap=True)


def _processes(asked: int | None, total_bytes: int) -> int:
    return asked or min(available_processes(), 1 + total_bytes // BYTES_WORTH_A_PROCESS)


@contextmanager
def _bar(console: Console, description: str, total: int, done: int = 0) -> Iterator[Progress]:
    with byte_progress(console) as progress:
        task = progress.add_task(description, total=total, completed=done)
        yield lambda count: progress.advance(task, count)


def _train_tokenizer(data: DataConfig, version: str, inputs: Sequence[Path]) -> None:
    """Train the tokenizer on the text of a version, of a mixture on that of all its parts."""
    if data.train_vocabulary is None:
        raise DataError(
            f"no tokenizer at {data.tokenizer_path}; set data.tokenizer to a tokenizer.json, or data.train_vocabulary "
            "to train one (257 means plain bytes)"
        )
    texts = (text for part in parts_of(inputs) for text in read_documents(part, data.text_key))
    identity = train_tokenizer(texts, data.train_vocabulary, data.tokenizer_path)
    Console(highlight=False).print(
        f"trained {data.tokenizer_path} on {version}: {identity.vocabulary} tokens", markup=False, soft_wrap=True
    )


def _summary(manifest: Manifest, sequence_length: int) -> str:
    name = manifest.version if manifest.split == "train" else f"{manifest.version} {manifest.split}"
    return (
        f"{name}: {manifest.documents:,} documents, {manifest.tokens:,} tokens, "
        f"{manifest.rows(sequence_length):,} sequences of {sequence_length} "
        f"({manifest.remainder_tokens(sequence_length):,} tokens left over), sha256 {manifest.sha256[:12]}"
    )


def _nothing_held_out(manifest: Manifest, data: DataConfig) -> str:
    found = f"{manifest.tokens:,} tokens, no whole sequence" if manifest.documents else "no document"
    return (
        f"warning: {manifest.version} holds out {found}, so nothing can be evaluated on it; a version never changes. "
        f"Raise data.heldout_share (now {data.heldout_share:g}) or add text, and build under another name, or delete "
        f"{data.root / manifest.version} and build again"
    )
