"""Tokenization of the documents of a version, and packing into the shards of its training and held-out splits.

An EOS token follows each document, and a BOS token precedes it if the config names one. `tokenize_part` depends on its
arguments only and may be repeated, so any system can run it on any machine: the process pool here, a job array,
datatrove. `finalize_version` packs the parts in order; its output does not depend on where they were made. Must not
import torch or webdataset (the writer does).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrps.base.errors import ConfigError, DataError
from lrps.config.pair_template import PairTemplate
from lrps.config.text import BadDocuments, Documents
from lrps.data.build.bad_document import BadDocument, check_bad, readable_documents
from lrps.data.build.built import DEFAULTS, IGNORED_SETTINGS, MAKER, TEMPLATE, check_built
from lrps.data.build.documents import PART_BYTES, TEXT_KEY, WHOLE_FILE, InputPart, Reading, parts_of, read_documents
from lrps.data.build.encode import WHOLE_CHARACTERS, Encoder
from lrps.data.build.file_range import Progress, no_progress
from lrps.data.build.fingerprint import Fingerprint, changed_inputs, check_unchanged
from lrps.data.build.inputs import distinct_names
from lrps.data.build.kinds import kind_of
from lrps.data.build.part_encoder import Document, PartEncoder, TextLimits
from lrps.data.build.part_file import PartWriter, is_complete_part, read_part, read_tally
from lrps.data.build.pool import run_all
from lrps.data.build.tally import Tally, sum_tallies
from lrps.data.build.writer import TokenWriter
from lrps.data.data_tokenizer import BEGIN_TOKEN
from lrps.data.heldout import HELDOUT_SALT, is_heldout, sufficient_share
from lrps.data.manifest import SPLITS, Manifest, TokenizerIdentity, load_manifest, manifest_path
from lrps.data.outputs import Outputs
from lrps.data.tokenizer import TokenizerFile, read_tokenizer

BATCH_CHARACTERS = WHOLE_CHARACTERS
UNKNOWN_TOKENS = "unknown_tokens"
"""Key in provenance of the number of unk tokens in both splits; absent if there are none."""


@dataclass(frozen=True)
class Recipe:
    """The settings that determine the tokens and the split of a document, and the limits of a document.

    identity: that of the tokenizer's file. begin_token: spelling of the BOS token before each document, or None.
    ignored_settings: those of the tokenizer's file that are switched off. bad_documents and limits decide only whether
    the text is accepted, so they are not part of the provenance.
    """

    tokenizer_path: Path
    identity: TokenizerIdentity
    heldout_share: float
    heldout_salt: str = HELDOUT_SALT
    text_key: str = TEXT_KEY
    begin_token: str | None = None
    ignored_settings: tuple[str, ...] = ()
    limits: TextLimits = field(default_factory=TextLimits)
    documents: Documents = WHOLE_FILE
    bad_documents: BadDocuments = field(default_factory=BadDocuments)
    template: PairTemplate | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.heldout_share < 1:
            raise ConfigError(f"a held-out share of {self.heldout_share} is not in [0, 1)")

    @property
    def provenance(self) -> dict[str, Any]:
        """Entries of the recipe in the manifest, without the tokenizer, which has a key of its own there."""
        values = {"maker": MAKER, "heldout_share": self.heldout_share, "heldout_salt": self.heldout_salt}
        # Defaults are left out, so that versions built before there was a choice stay valid.
        chosen = {
            "text_key": self.text_key,
            TEMPLATE: None if self.template is None else self.template.text,
            BEGIN_TOKEN: self.begin_token,
            IGNORED_SETTINGS: [*self.ignored_settings],
        }
        return values | {key: value for key, value in chosen.items() if value != DEFAULTS[key]}

    @property
    def reading(self) -> Reading:
        return Reading(self.text_key, self.documents, self.template)

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
    if is_complete_part(job.path):
        progress(job.part.bytes)
        return
    file, encoder = _encoder(recipe.tokenizer_path, recipe.identity, recipe.begin_token)
    part = PartEncoder(encoder, file.unknown, recipe.limits)
    taken = 0

    def take(count: int) -> None:
        nonlocal taken
        taken += count

    try:
        with PartWriter(job.path) as writer:
            try:
                for batch in _batches(_documents(job.part, recipe, writer.tally, take)):
                    visible = [document for document in batch if document.text.strip()]
                    writer.tally.empty += len(batch) - len(visible)
                    for split, tokens, sizes in _encode(visible, part, recipe):
                        writer.add(split, tokens, sizes)
                    progress(taken)
                    taken = 0
                part.finish()
            finally:
                # Also after a failed read, because a changed file may be the cause of an unreadable line.
                check_unchanged(job.inputs)
            writer.tally.lost_bytes = part.lost_bytes
            writer.close()
        progress(taken)
    except OSError as error:
        raise _cannot_write(job.path, error) from None


def built_manifests(text: VersionText, fingerprints: Mapping[Path, Fingerprint]) -> dict[str, Manifest]:
    """Return the manifests of the splits that exist, by split. Raises DataError if one was made from other text."""
    return {split: manifest for split in SPLITS if (manifest := _built(text, split, fingerprints)) is not None}


def unfinished_parts(jobs: Iterable[TokenizeJob]) -> list[TokenizeJob]:
    """Return the jobs whose tokens are not written yet, in order."""
    return [job for job in jobs if not is_complete_part(job.path)]


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
        tally = sum_tallies(read_tally(job.path) for job in text.jobs(fingerprints))
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
        unknown = 0
        documents: dict[str, list[np.ndarray]] = {split: [] for split in splits}
        unk = read_tokenizer(text.recipe.tokenizer_path).unknown
        for part, path, _ in text.jobs(fingerprints):
            for split, tokens, sizes in read_part(path):
                _refuse_other_ends(path, tokens, sizes, text.recipe.identity)
                unknown += 0 if unk is None else int(np.count_nonzero(tokens == unk))
                if split in writers:
                    writers[split].add_documents(tokens, sizes[:, 0], int(sizes[:, 1].sum()))
                    documents[split].append(sizes)
            progress(part.bytes)
        _refuse_changed(text, fingerprints)
        provenance = text.provenance(fingerprints) | tally.provenance
        provenance |= {UNKNOWN_TOKENS: unknown} if unknown else {}
        known = text.recipe.template is not None
        outputs = {split: Outputs.of(sizes).provenance if known else {} for split, sizes in documents.items()}
        return {split: writer.close(provenance | outputs[split]) for split, writer in writers.items()}


def _refuse_other_ends(path: Path, tokens: np.ndarray, sizes: np.ndarray, identity: TokenizerIdentity) -> None:
    """Raise DataError, after removing the part, if its EOS tokens are not those at the ends of its documents."""
    if not np.array_equal(np.flatnonzero(tokens == identity.eos), np.cumsum(sizes[:, 0]) - 1):
        path.unlink()
        raise DataError(
            f"{path} had EOS tokens within documents and has been removed. Run `lrps data build CONFIG` again."
        )


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
def _encoder(path: Path, identity: TokenizerIdentity, begin_token: str | None) -> tuple[TokenizerFile, Encoder]:
    """Load the tokenizer, once per process because a large vocabulary takes half a second."""
    file = read_tokenizer(path)
    if file.identity(identity.eos) != identity:
        raise DataError(f"{path} was changed while it was in use. Start again, with one tokenizer for all.")
    return file, Encoder(file, identity.eos, None if begin_token is None else file.vocabulary[begin_token])


def _encode(
    documents: Sequence[Document], part: PartEncoder, recipe: Recipe
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (split, tokens, sizes of each document) of the documents, in order within each split.

    sizes: number of tokens and bytes of text; with a template also those of its targets, as `Outputs.of` takes them.
    """
    found: dict[str, list[tuple[np.ndarray, tuple[int, ...]]]] = {split: [] for split in SPLITS}
    for (_, _, text), tokens in zip(documents, part.encode(documents), strict=True):
        sizes = len(tokens), len(text.encode())
        targets = () if recipe.template is None else part.targets(text, recipe.template, *sizes)
        found["heldout" if recipe.is_heldout(text) else "train"].append((tokens, (*sizes, *targets)))
    for split, encoded in found.items():
        if encoded:
            every = np.array([sizes for _, sizes in encoded], np.int64)
            yield split, np.concatenate([tokens for tokens, _ in encoded]), every


def _documents(part: InputPart, recipe: Recipe, tally: Tally, progress: Progress) -> Iterator[Document]:
    """Yield the documents of a part that can be read, each with its place, and count the others."""
    place: tuple[object, int] = part, 0

    def each() -> Iterator[str | BadDocument]:
        nonlocal place
        for piece in part.pieces:
            documents = read_documents(InputPart((piece,)), recipe.reading, progress)
            for number, document in enumerate(documents, 1):
                place = piece, number
                yield document

    for text in readable_documents(each(), recipe.bad_documents, tally):
        yield Document(*place, text)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Group documents up to BATCH_CHARACTERS; a longer one is a batch of its own."""
    batch: list[Document] = []
    characters = 0
    for document in documents:
        added = len(document.text) + 1  # + 1 bounds the number of empty texts too.
        if batch and characters + added > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append(document)
        characters += added
    if batch:
        yield batch


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot write ({error.strerror or error}). Free disk space and run the same command again to continue."
    )
