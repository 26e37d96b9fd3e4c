"""The build of all versions of a config: the tokenizer if there is none, then the shards of every version with text.

`build_data` does all of it on this machine; `tokenize_data` and `finalize_data` are its two halves, so that the first
can be divided among many machines. Existing results are kept, so a repeated build is cheap and a new version never
changes an old one. A version that is built needs its text no more; what is still there is compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from lrps.base.errors import ConfigError, DataError
from lrps.base.files import located
from lrps.base.progress import byte_progress
from lrps.config.data import DataConfig
from lrps.config.model_directory import refuse_lfs_pointer
from lrps.config.models import Config
from lrps.config.versions import ShardSet
from lrps.data.build.encode import Encoder, check_encodes_all
from lrps.data.build.file_range import Progress, file_size
from lrps.data.build.fingerprint import Fingerprint, fingerprint_inputs
from lrps.data.build.inputs import Inputs, expand
from lrps.data.build.part_encoder import TextLimits
from lrps.data.build.pool import available_processes
from lrps.data.build.tally import LOST
from lrps.data.build.tokenize import (
    UNKNOWN_TOKENS,
    Recipe,
    Share,
    TokenizeJob,
    VersionText,
    built_manifests,
    finalize_version,
    tokenize_jobs,
    unfinished_parts,
)
from lrps.data.build.trained import TrainedTokenizer, first_text, training_text
from lrps.data.data_tokenizer import DataTokenizer, config_tokenizer
from lrps.data.heldout import check_heldout_share
from lrps.data.hub import download_advice
from lrps.data.manifest import SPLITS, Manifest, existing_manifests, made_with_another, manifest_path

BYTES_WORTH_A_PROCESS = 2**24
"""Bytes of text that justify another process: less is tokenized before the process has started."""


def build_data(config: Config, names: Sequence[str] = (), processes: int | None = None) -> None:
    """Build the missing ones of all versions, or of the named ones, compare the others, and print a summary of each.

    processes: by default one per core, fewer for little text. Raises ConfigError if no version has text, DataError if a
    version exists that was made from other text.
    """
    console = Console(highlight=False)
    for text in version_texts(config, names):
        fingerprints = _fingerprints(text, text.inputs, processes, console)
        if not _is_built(config.data, text.version):
            built_manifests(text, fingerprints)
            _tokenize(text, text.jobs(fingerprints), processes, console)
        _finalize(text, fingerprints, config.data, console)


def tokenize_data(
    config: Config, names: Sequence[str] = (), share: Share | None = None, processes: int | None = None
) -> None:
    """Tokenize all versions, or the named ones, or a share of their parts; `finalize_data` packs the parts.

    Shares may run at the same time on machines with a common data.root, and repeatedly: existing parts are kept.
    """
    console = Console(highlight=False)
    for text in version_texts(config, names, compare_training_text=False):
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


def version_texts(
    config: Config, names: Sequence[str] = (), *, compare_training_text: bool = True
) -> list[VersionText]:
    """Return the text of every version, part of a mixture and rehearsal set with `text:`, or of the named ones.

    The name of a version means all parts of its mixture. Trains the tokenizer if there is none. compare_training_text:
    hash the text that the tokenizer was trained on, as long as no version is built; False compares its size. Raises
    ConfigError for a name without text, a file that a version names twice and another held-out share than that of the
    versions that are built; DataError for missing files of a version that is not built, and for a tokenizer that does
    not fit the text, the model or the versions that are built.
    """
    data = config.data
    with_text = {shards.name: shards for shards in data.shard_sets if shards.text}
    if not with_text:
        raise ConfigError("no version has `text:`; list the .txt or .jsonl files of each version there")
    known = {name for shards in with_text.values() for name in (shards.name, shards.version)}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"no version {', '.join(unknown)} with `text:`; these have it: {', '.join(with_text)}")
    wanted = {
        name: _inputs(data, name, shards.text)
        for name, shards in with_text.items()
        if not names or {name, shards.version} & {*names}
    }
    if not data.tokenizer_path.exists():
        _train_tokenizer(data)
    complete = all(_is_built(data, name) for name in wanted)
    tokenizer = _checked_tokenizer(config, complete=complete, compare_training_text=compare_training_text)
    recipe = Recipe(
        data.tokenizer_path,
        tokenizer.identity,
        data.heldout_share,
        text_key=data.text_key,
        template=data.pair_template(),
        begin_token=tokenizer.begin,
        ignored_settings=tokenizer.file.ignored_settings,
        limits=TextLimits(data.longest_document, data.unknown_share),
        documents=data.documents,
        bad_documents=data.bad_documents,
    )
    return [
        VersionText(
            *(data.root, name, inputs.files, recipe),
            heldout_tokens=_needed_heldout_tokens(data, with_text[name]),
            missing=inputs.missing,
        )
        for name, inputs in wanted.items()
    ]


def _inputs(data: DataConfig, name: str, texts: Sequence[str]) -> Inputs:
    """Return the input files of a version. Raises DataError if some are missing and the version is not built."""
    is_built = _is_built(data, name)
    inputs = expand(name, texts, data.cache_path, fetch=not is_built)
    if is_built:
        return inputs
    if inputs.missing:
        raise DataError(
            f"{name}: there is no text at {', '.join(inputs.missing)}; correct its `text:`, or make the files first"
        )
    for file in inputs.files:
        refuse_lfs_pointer(file, f"the text of {name}")
    for note in inputs.notes:
        Console(highlight=False).print(f"{name}: {note}", markup=False, soft_wrap=True)
    return inputs


def _checked_tokenizer(config: Config, *, complete: bool, compare_training_text: bool) -> DataTokenizer:
    """Return the tokenizer of the config's data, and print what may be a mistake. complete: nothing is to be built.

    Raises DataError if it made other versions than those that exist, was trained on other text, does not fit the model,
    or cannot encode all text, ConfigError for another held-out share than that of the versions.
    """
    data = config.data
    manifests = existing_manifests(data.root, [shards.name for shards in data.shard_sets])
    tokenizer = config_tokenizer(config, manifests)
    sha256, used = tokenizer.identity.sha256, bool(manifests)
    if others := made_with_another(sha256, manifests):
        raise DataError(
            f"{located(data.tokenizer_path)} did not make the shards of {', '.join(others)}, and all versions need one "
            "tokenizer: give that one as data.tokenizer, or build under another data.root"
        )
    check_heldout_share(data, {manifest.version: manifest for manifest in manifests})
    if data.train_vocabulary is not None:
        text = () if used else training_text(data)
        fingerprints = fingerprint_inputs(text) if compare_training_text else None
        TrainedTokenizer(data).check(sha256, text, fingerprints, used=used)
    notes = [tokenizer.absent_begin_note]
    if tokenizer.checkpoint_mismatch is not None:
        if not used:
            raise DataError(tokenizer.checkpoint_mismatch)
        notes.append(tokenizer.checkpoint_mismatch)
    if not complete:
        check_encodes_all(Encoder(tokenizer.file, tokenizer.identity.eos), tokenizer.file)
    for note in filter(None, notes):
        Console(highlight=False).print(f"warning: {note}", markup=False, soft_wrap=True)
    return tokenizer


def _is_built(data: DataConfig, version: str) -> bool:
    return all(manifest_path(data.root, version, split).exists() for split in SPLITS)


def _needed_heldout_tokens(data: DataConfig, shards: ShardSet) -> int:
    """Return the number of tokens that must be held out; of a rehearsal set none: nothing is evaluated on it."""
    evaluated = shards.version in [version.name for version in (*data.versions, *data.candidates)]
    return data.sequence_length if evaluated and data.heldout_share and not data.allow_empty_heldout else 0


def _fingerprints(
    text: VersionText, inputs: Sequence[Path], processes: int | None, console: Console
) -> dict[Path, Fingerprint]:
    total = sum(file_size(path) for path in set(inputs))
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
    """Pack the parts of a version that is not built, and print what it holds; of another one that it was kept."""
    if _is_built(data, text.version):
        manifests = tuple(built_manifests(text, fingerprints)[split] for split in SPLITS)
        lines = [_kept(text, manifests[0], data.sequence_length)]
    else:
        with _bar(console, f"{text.version}: packing", sum(part.bytes for part in text.parts)) as progress:
            manifests = finalize_version(text, fingerprints, progress)
        lines = [_summary(manifest, data.sequence_length) for manifest in manifests]
        lines += _left_out(manifests[0])
    evaluated = [shards.name for version in (*data.versions, *data.candidates) for shards in version.shard_sets]
    if text.version in evaluated and not manifests[1].rows(data.sequence_length):
        lines.append(f"warning: {text.version} holds out no whole sequence, so all losses on it are n/a")
    lines += [f"warning: {text.version}: {note}" for note in _text_unknown(manifests)]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _processes(asked: int | None, total_bytes: int) -> int:
    return asked or min(available_processes(), 1 + total_bytes // BYTES_WORTH_A_PROCESS)


@contextmanager
def _bar(console: Console, description: str, total: int, done: int = 0) -> Iterator[Progress]:
    with byte_progress(console) as progress:
        task = progress.add_task(description, total=total, completed=done)
        yield lambda count: progress.advance(task, count)


def _train_tokenizer(data: DataConfig) -> None:
    """Train the tokenizer on the text of the first version, of a mixture on that of all its parts."""
    path = data.tokenizer_path.absolute()
    if advice := data.tokenizer and download_advice(data.tokenizer, "tokenizer.json", "data.tokenizer"):
        raise DataError(f"no tokenizer at {path}; {advice}")
    if data.train_vocabulary is None:
        raise DataError(
            f"no tokenizer at {path}; set data.tokenizer to a tokenizer.json, or data.train_vocabulary "
            "to train one (257 means plain bytes)"
        )
    first = first_text(data)
    inputs = [file for shards in first for file in _inputs(data, shards.name, shards.text).files]
    version = first[0].version
    identity = TrainedTokenizer(data).train(version, inputs)
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


def _text_unknown(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Yield what of a version's text its tokenizer does not know."""
    counts = manifests[0].provenance
    if unknown := counts.get(UNKNOWN_TOKENS):
        share = unknown / sum(manifest.tokens for manifest in manifests)
        yield f"{unknown:,} tokens ({share:.2%}) are the unk token, in place of text that the tokenizer does not know"
    if lost := counts.get(LOST):
        share = lost / sum(manifest.text_bytes for manifest in manifests)
        yield f"{lost:,} bytes ({share:.2%}) of text were lost, because the tokenizer has no token for them"


def _kept(text: VersionText, manifest: Manifest, sequence_length: int) -> str:
    """Return what became of a version that was built before."""
    state = "built, and unchanged"
    if text.missing:
        whose = "some of its text" if text.inputs else "its text"
        state = f"built; {whose} is not here and was not compared ({', '.join(text.missing)}), kept"
    return (
        f"{text.version}: {state}: {manifest.tokens:,} tokens, {manifest.rows(sequence_length):,} sequences of "
        f"{sequence_length}, sha256 {manifest.sha256[:12]}"
    )


def _left_out(manifest: Manifest) -> list[str]:
    """Return what was left out of a version."""
    empty, bad = manifest.provenance["empty_documents"], manifest.provenance.get("bad_documents", {})
    lines = [f"{manifest.version}: {empty:,} empty documents left out"] if empty else []
    if bad:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in bad.items())
        lines.append(f"{manifest.version}: {sum(bad.values()):,} documents that cannot be read left out: {kinds}")
    return lines
