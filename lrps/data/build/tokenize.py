"""Tokenization of the documents of a version, and packing into the shards of its training and held-out splits.

An EOS token follows each document. `tokenize_part` depends on its arguments only and may be repeated, so any system can
run it on any machine: the process pool here, a job array, datatrove. `finalize_version` packs the parts in order; its
output does not depend on where they were made. Must not import torch or webdataset (the writer does).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field
from functools import cached_property, lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from lrps.base.errors import ConfigError, DataError
from lrps.config.text import BadDocuments, Documents
from lrps.data.build.bad_document import check_bad, readable
from lrps.data.build.built import check_built
from lrps.data.build.documents import PART_BYTES, TEXT_KEY, WHOLE_FILE, InputPart, Reading, parts_of, read_documents
from lrps.data.build.file_range import Progress, no_progress
from lrps.data.build.fingerprint import Fingerprint, changed_inputs, check_unchanged
from lrps.data.build.inputs import distinct_names
from lrps.data.build.kinds import kind_of
from lrps.data.build.part_file import PartWriter, is_complete, read_part, read_tally
from lrps.data.build.pool import run_all
from lrps.data.build.tally import Tally, total
from lrps.data.build.writer import TokenWriter, token_dtype
from lrps.data.heldout import is_heldout, sufficient_share
from lrps.data.manifest import SPLITS, Manifest, TokenizerIdentity, load_manifest, manifest_path
from lrps.data.tokenizer import load_tokenizer

BATCH_CHARACTERS = 2**20
MAKER = "lrps.data.tokenize/1"
"""Name of this tokenization in manifests. It needs a new number if the same text would give other tokens."""


@dataclass(frozen=True)
class Recipe:
    """The settings that determine the tokens and the split of a document. identity: that of the tokenizer's file.

    bad_documents decides only whether the text is accepted, so it is not part of the provenance.
    """

    tokenizer_path: Path
    identity: TokenizerIdentity
    heldout_share: float
    heldout_salt: str = "lrps"
    text_key: str = TEXT_KEY
    documents: Documents = WHOLE_FILE
    bad_documents: BadDocuments = field(default_factory=BadDocuments)

    def __post_init__(self) -> None:
        if not 0 <= self.heldout_share < 1:
            raise ConfigError(f"a held-out share of {self.heldout_share} is not in [0, 1)")

    @property
    def provenance(self) -> dict[str, Any]:
        """Entries of the recipe in the manifest, without the tokenizer, which has a key of its own there."""
        values = {"maker": MAKER, "heldout_share": self.heldout_share, "heldout_salt": self.heldout_salt}
        # The default key is left out, so that versions built before the key could be chosen stay valid.
        return values if self.text_key == TEXT_KEY else values | {"text_key": self.text_key}

    @property
    def reading(self) -> Reading:
        return Reading(self.text_key, self.documents)

    def is_heldout(self, text: str) -> bool:
        return is_heldout(text, self.heldout_share, self.heldout_salt)


@dataclass(frozen=True)
class VersionText:
    """The input files of one version, its recipe, and the directory of its shards.

    heldout_tokens: smallest number of tokens that must be held out. missing: descriptions of the text that is not here,
    of a version that is built.
    """

    root: Path
    version: str
    inputs: tuple[Path, ...]
    recipe: Recipe
    part_bytes: int = PART_BYTES
    heldout_tokens: int = 0
    missing: tuple[str, ...] = ()

    @cached_property
    def parts(self) -> tuple[InputPart, ...]:
        return tuple(parts_of(self.inputs, self.part_bytes, self.recipe.documents))

    @property
    def directory(self) -> Path:
        return manifest_path(self.root, self.version, SPLITS[0]).parent

    def part_file(self, part: InputPart, fingerprints: Mapping[Path, Fingerprint]) -> Path:
        """Return the path of a part's tokens, whose name is a hash of everything that the tokens depend on.

        So files of another recipe or text are never reused, and a machine that makes a share of the parts has to hash
        only the files that it reads. fingerprints: of the part's input files.
        """
        made_by = [self.recipe.provenance, self.recipe.documents, self.recipe.identity.sha256, self.part_bytes]
        made_of = [
            [fingerprints[piece.path].sha256, astuple(piece.kind), piece.start, piece.stop] for piece in part.pieces
        ]
        return self.directory / f".parts-{_digest(made_by)[:16]}" / f"{_digest(made_of)[:32]}.npz"

    def jobs(self, fingerprints: Mapping[Path, Fingerprint], share: Share | None = None) -> list[TokenizeJob]:
        """Return the jobs of a share, or of all parts, in order. fingerprints: of the files that these parts read."""
        parts = self.parts if share is None else share.take(self.parts)
        return [
            TokenizeJob(part, self.part_file(part, fingerprints), {path: fingerprints[path] for path in part.paths})
            for part in parts
        ]

    def provenance(self, fingerprints: Mapping[Path, Fingerprint]) -> dict[str, Any]:
        names = distinct_names(self.inputs)
        inputs = [
            {"name": name, **fingerprints[path].provenance} for name, path in zip(names, self.inputs, strict=True)
        ]
        # Named only where it matters, so that versions without .txt files stay valid when it is set for another one.
        has_text = any(kind_of(name).format == "text" for name in names)
        how = {"documents": self.recipe.documents} if has_text and self.recipe.documents != WHOLE_FILE else {}
        return self.recipe.provenance | how | {"inputs": inputs}


class TokenizeJob(NamedTuple):
    """A part to tokenize, the path of its tokens, and the fingerprints of its input files, which must not change."""

    part: InputPart
    path: Path
    inputs: Mapping[Path, Fingerprint]


class Share(NamedTuple):
    """One of `of` equal shares of the work; `number` counts from 1, as in `3/16`."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Share:
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise ConfigError(f"{text!r} is not a share: write I/N with 1 <= I <= N, for example 3/16")
        return cls(int(number), int(of))

    def take(self, parts: Sequence[InputPart]) -> Sequence[InputPart]:
        """Return the parts of this share. They are consecutive, so that few files are read by two shares.

        All shares together have every part once.
        """
        return parts[len(parts) * (self.number - 1) // self.of : len(parts) * self.number // self.of]


def tokenize_jobs(
    jobs: Sequence[TokenizeJob], recipe: Recipe, processes: int = 1, progress: Progress = no_progress
) -> None:
    """Call `tokenize_part` for every job, in up to `processes` processes; progress in bytes of input."""
    run_all(partial(tokenize_part, recipe), jobs, processes, progress)


def tokenize_part(recipe: Recipe, job: TokenizeJob, progress: Progress = no_progress) -> None:
    """Write the tokens of a part to its file, atomically; do nothing if the file exists.

    The progress, in bytes of input, adds up to `part.bytes`. Raises DataError for input that cannot be read or was
    changed since it was hashed, for a full disk, and for a tokenizer that is no longer the recipe's.
    """
    if is_complete(job.path):
        progress(job.part.bytes)
        return
    tokenizer = _tokenizer(recipe.tokenizer_path, recipe.identity)
    taken = 0

    def take(count: int) -> None:
        nonlocal taken
        taken += count

    try:
        with PartWriter(job.path) as writer:
            try:
                documents = read_documents(job.part, recipe.reading, take)
                for texts in _batches(readable(documents, recipe.bad_documents, writer.tally)):
                    visible = [text for text in texts if text.strip()]
                    writer.tally.empty += len(texts) - len(visible)
                    for split, tokens, sizes in _encode(visible, tokenizer, recipe):
                        writer.add(split, tokens, sizes)
                    progress(taken)
                    taken = 0
            finally:
                # Also after a failed read, because a changed file may be the cause of an unreadable line.
                check_unchanged(job.inputs)
            writer.close()
        progress(taken)
    except OSError as error:
        raise _cannot_write(job.path, error) from None


def built_manifests(text: VersionText, fingerprints: Mapping[Path, Fingerprint]) -> dict[str, Manifest]:
    """Return the manifests of the splits that exist, by split. Raises DataError if one was made from other text."""
    return {split: manifest for split in SPLITS if (manifest := _built(text, split, fingerprints)) is not None}


def unfinished_parts(jobs: Iterable[TokenizeJob]) -> list[TokenizeJob]:
    """Return the jobs whose tokens are not written yet, in order."""
    return [job for job in jobs if not is_complete(job.path)]


def finalize_version(
    text: VersionText, fingerprints: Mapping[Path, Fingerprint], progress: Progress = no_progress
) -> tuple[Manifest, Manifest]:
    """Pack the parts into the shards of both splits, remove the parts, and return the manifests (train, heldout).

    A split that was made from this text is kept and only a missing one is written. The progress is in bytes of input.
    Raises DataError if a part is missing or damaged, if the disk is full, if the version was made from other text, and
    for text that is not acceptable: too many bad documents, nothing to train on, too little held out.
    """
    manifests = built_manifests(text, fingerprints)
    if len(manifests) < len(SPLITS):
        if missing := unfinished_parts(text.jobs(fingerprints)):
            named = "; ".join(str(job.part) for job in missing[:3]) + ("; ..." if len(missing) > 3 else "")
            raise DataError(
                f"{text.version}: {len(missing)} of {len(text.parts)} parts are not tokenized: {named}. "
                "Run `lrps data tokenize CONFIG` with the missing shares."
            )
        tally = total(read_tally(job.path) for job in text.jobs(fingerprints))
        _check_acceptable(text, tally, check_size=not manifests)
        try:
            manifests |= _pack(text, fingerprints, tally, [s for s in SPLITS if s not in manifests], progress)
        except OSError as error:
            raise _cannot_write(text.directory, error) from None
    _remove_parts(text)
    return manifests["train"], manifests["heldout"]


def _check_acceptable(text: VersionText, tally: Tally, check_size: bool) -> None:
    """Raise DataError for a version with too many bad documents, nothing to train on, or too little held out."""
    check_bad(tally, text.recipe.bad_documents, text.version)
    if not tally.documents["train"]:
        _remove_parts(text)
        raise DataError(
            f"{text.version}: no document to train on: {tally.documents['heldout']:,} held out, {tally.empty:,} empty. "
            "Add text, or lower data.heldout_share."
        )
    if check_size and tally.tokens["heldout"] < text.heldout_tokens:
        share = text.recipe.heldout_share
        raise DataError(
            f"{text.version}: {tally.documents['heldout']:,} of {tally.documents.total():,} documents are held out, "
            f"{tally.tokens['heldout']:,} tokens, which is no whole sequence of {text.heldout_tokens}, so nothing can "
            f"be evaluated on it. {_larger_share(text, tally)} (data.heldout_share is {share:g}), or accept it with "
            "data.allow_empty_heldout: true, or hold nothing out at all with data.heldout_share: 0."
        )


def _larger_share(text: VersionText, tally: Tally) -> str:
    """Return the advice to set the smallest share of which two sequences are held out."""
    documents = (document for part in text.parts for document in read_documents(part, text.recipe.reading))
    texts = (document for document in documents if isinstance(document, str) and document.strip())
    wanted = 2 * text.heldout_tokens * tally.text_bytes / tally.tokens.total()
    if (share := sufficient_share(texts, text.recipe.heldout_salt, wanted)) is None:
        return "Add text: no share below 0.5 would hold out a sequence and leave text to train on"
    return f"Add text, or, if no version is built yet, set data.heldout_share: {share:g}"


def _pack(
    text: VersionText,
    fingerprints: Mapping[Path, Fingerprint],
    tally: Tally,
    splits: Sequence[str],
    progress: Progress,
) -> dict[str, Manifest]:
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(TokenWriter(text.root, text.version, split, text.recipe.identity))
            for split in splits
        }
        for part, path, _ in text.jobs(fingerprints):
            for split, tokens, sizes in read_part(path):
                if split in writers:
                    writers[split].add_documents(tokens, sizes[:, 0], int(sizes[:, 1].sum()))
            progress(part.bytes)
        _refuse_changed(text, fingerprints)
        provenance = text.provenance(fingerprints) | tally.provenance
        return {split: writer.close(provenance) for split, writer in writers.items()}


def _refuse_changed(text: VersionText, fingerprints: Mapping[Path, Fingerprint]) -> None:
    """Raise DataError if an input was changed, after removing its parts, which have the hash of the old content."""
    changed = set(changed_inputs(fingerprints))
    for job in text.jobs(fingerprints):
        if not changed.isdisjoint(job.part.paths):
            job.path.unlink(missing_ok=True)
    check_unchanged(fingerprints)


def _remove_parts(text: VersionText) -> None:
    for folder in text.directory.glob(".parts-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _built(text: VersionText, split: str, fingerprints: Mapping[Path, Fingerprint]) -> Manifest | None:
    """Return the split's manifest, or None if there is none. Raises DataError if text or recipe were others."""
    path = manifest_path(text.root, text.version, split)
    if not path.exists():
        return None
    manifest = load_manifest(path)
    check_built(path, manifest, text.provenance(fingerprints), text.recipe.identity.sha256, whole=not text.missing)
    return manifest


@lru_cache(maxsize=1)
def _tokenizer(path: Path, identity: TokenizerIdentity) -> Tokenizer:
    """Load the tokenizer, once per process because a large vocabulary takes half a second."""
    tokenizer, found = load_tokenizer(path)
    if found != identity:
        raise DataError(f"{path} was changed while it was in use. Start again, with one tokenizer for all.")
    # Text that spells an EOS token is tokenized as text, so that it does not end a document.
    tokenizer.encode_special_tokens = True
    return tokenizer


def _encode(texts: list[str], tokenizer: Tokenizer, recipe: Recipe) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (split, tokens, [[tokens, text bytes], ...]) of the texts, in order within each split."""
    found: dict[str, list[tuple[list[int], int]]] = {split: [] for split in SPLITS}
    for text, encoding in zip(texts, tokenizer.encode_batch_fast(texts, add_special_tokens=False), strict=True):
        split = "heldout" if recipe.is_heldout(text) else "train"
        found[split].append(([*encoding.ids, recipe.identity.eos], len(text.encode())))
    for split, documents in found.items():
        if documents:
            tokens = np.fromiter(chain.from_iterable(ids for ids, _ in documents), token_dtype(recipe.identity))
            yield split, tokens, np.array([(len(ids), text_bytes) for ids, text_bytes in documents], np.int64)


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in documents:
        batch.append(text)
        characters += len(text) + 1  # + 1 bounds the number of empty texts too.
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot write ({error.strerror or error}). Free disk space and run the same command again to continue."
    )
