"""The tokenizer that a config lets lrps train, and the record of its training beside it.

The record, tokenizer.provenance.json, has the vocabulary that was asked for and the hashes of the text, so that a
tokenizer of other text or size is noticed before anything is built with it. Must not import torch or webdataset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrps.base.errors import DataError
from lrps.base.files import atomic_write_bytes, atomic_write_json
from lrps.base.foreign_json import read_json
from lrps.config.data import DataConfig
from lrps.config.versions import ShardSet
from lrps.data.build.bad_document import readable_documents
from lrps.data.build.documents import Reading, parts_of, read_documents
from lrps.data.build.fingerprint import Fingerprint, check_unchanged, fingerprint_inputs
from lrps.data.build.inputs import expand
from lrps.data.build.tally import Tally
from lrps.data.manifest import TokenizerIdentity
from lrps.data.tokenizer import TRAINED_EOS, read_tokenizer, trained_tokenizer

FORMAT = "lrps-tokenizer/1"


class TrainedTokenizer:
    """The tokenizer at `data.tokenizer_path`, if `data.train_vocabulary` lets lrps train it."""

    def __init__(self, data: DataConfig) -> None:
        self._data = data
        self._path = data.tokenizer_path
        self._record = self._path.with_name(f"{self._path.stem}.provenance.json")

    def train(self, version: str, inputs: Sequence[Path]) -> TokenizerIdentity:
        """Train the tokenizer on the text of a version and write it with its record; return its identity.

        Nothing is written before all text is read. Raises DataError for text that cannot be read, is changed meanwhile,
        or has no document.
        """
        assert self._data.train_vocabulary is not None
        fingerprints = fingerprint_inputs(inputs)
        reading = Reading(self._data.text_key, self._data.documents, self._data.pair_template())
        parts = parts_of(inputs, documents=self._data.documents)
        documents = (document for part in parts for document in read_documents(part, reading))
        texts = readable_documents(documents, self._data.bad_documents, Tally())
        content = trained_tokenizer(_not_only_empty(texts, version), self._data.train_vocabulary)
        check_unchanged(fingerprints)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # The record comes first: without its tokenizer it has no effect.
        record = {"format": FORMAT, "sha256": hashlib.sha256(content).hexdigest(), **self._wanted()}
        atomic_write_json(self._record, {**record, "version": version, "inputs": _entries(inputs, fingerprints)})
        atomic_write_bytes(self._path, content)
        file = read_tokenizer(self._path)
        return file.identity(file.vocabulary[TRAINED_EOS])

    def check(
        self,
        sha256: str,
        inputs: Sequence[Path],
        fingerprints: Mapping[Path, Fingerprint] | None = None,
        *,
        used: bool,
    ) -> None:
        """Raise DataError if the tokenizer is not the one that the config lets lrps train on the first version.

        sha256: that of the tokenizer. inputs: the text of the first version; without fingerprints only the sizes of its
        files are compared. used: whether a version was built with the tokenizer; then its text may have changed or be
        gone, and the tokenizer may have no record, as those of earlier releases.
        """
        if self._data.train_vocabulary is None:
            return
        record = self._read()
        if record.get("sha256") != sha256:
            if not used:
                raise DataError(
                    f"{self._path}: data.train_vocabulary asks for a tokenizer that lrps trains, but this one has no "
                    "record of its training, and no version was built with it. Remove data.train_vocabulary to use it "
                    "as it is; or move it away, and the build trains one."
                )
            return
        changed = [key for key, value in self._wanted().items() if record.get(key) != value]
        if "train_vocabulary" in changed and used:
            raise DataError(
                f"{self._path} was trained with data.train_vocabulary {record.get('train_vocabulary')}, the config has "
                f"{self._data.train_vocabulary}, and versions were built with it. Set it back, or build under another "
                "data.root."
            )
        if not used and (changed or _differ(record.get("inputs"), _entries(inputs, fingerprints))):
            what = ", ".join(f"data.{key} {record.get(key)}" for key in changed) or "other text of the first version"
            raise DataError(
                f"{self._path} was trained with {what}, and nothing was built with it. Move it away, and the build "
                "trains another one."
            )

    def _wanted(self) -> dict[str, Any]:
        data = self._data
        return {"train_vocabulary": data.train_vocabulary, "text_key": data.text_key, "documents": data.documents}

    def _read(self) -> dict[str, Any]:
        """Return the record; empty if there is none that can be read."""
        try:
            found = read_json(self._record)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def first_text(data: DataConfig) -> tuple[ShardSet, ...]:
    """Return the shards whose text the tokenizer is trained on: those of the first version that has text."""
    first = next((shards.version for shards in data.shard_sets if shards.text), None)
    return tuple(shards for shards in data.shard_sets if shards.version == first and shards.text)


def training_text(data: DataConfig) -> tuple[Path, ...]:
    """Return the files that the tokenizer is trained on, as far as they are here."""
    sets = first_text(data)
    return tuple(file for each in sets for file in expand(each.name, each.text, data.cache_path, fetch=False).files)


def _entries(inputs: Iterable[Path], fingerprints: Mapping[Path, Fingerprint] | None) -> list[dict[str, Any]]:
    """Return name, size and, if known, hash of each file; without the size if the file is gone."""
    if fingerprints is not None:
        return [{"name": path.name, **fingerprints[path].provenance} for path in inputs]
    return [{"name": path.name, **({"bytes": path.stat().st_size} if path.exists() else {})} for path in inputs]


def _differ(recorded: object, entries: Sequence[Mapping[str, Any]]) -> bool:
    if not isinstance(recorded, list) or len(recorded) != len(entries):
        return True
    return any(
        not isinstance(old, dict) or any(old.get(key) != value for key, value in new.items())
        for old, new in zip(recorded, entries, strict=True)
    )


def _not_only_empty(texts: Iterable[str], version: str) -> Iterator[str]:
    """Yield the texts. Raises DataError at their end if none has a visible character."""
    visible = False
    for text in texts:
        visible = visible or bool(text.strip())
        yield text
    if not visible:
        raise DataError(f"{version}: no document to train a tokenizer on, its text is empty. Correct its `text:`.")
