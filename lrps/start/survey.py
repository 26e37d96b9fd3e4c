"""A first look at text: its files, documents and size, from reading the beginning of every version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrps.base.errors import ConfigError, DataError
from lrps.config.text import BadDocuments, Documents
from lrps.data.build.bad_document import readable_documents
from lrps.data.build.documents import InputPart, Reading, parts_of, read_documents
from lrps.data.build.file_range import FileRange, Progress, file_size
from lrps.data.build.inputs import Inputs, expand
from lrps.data.build.json_reader import first_object
from lrps.data.build.kinds import kind_of
from lrps.data.build.tally import Tally

SURVEYED_BYTES = 32 * 10**6
"""Bytes of text of a version that are read; of more text the rest is estimated from them."""
NOWHERE = Path("no-cache")
ENOUGH_DOCUMENTS = 20
"""Number of documents that every version needs, so that some can be held out."""


@dataclass(frozen=True)
class SurveyedVersion:
    """The text of one version, as far as it was read."""

    name: str
    """Name of the version."""
    text: str
    """File, glob or directory, as it was given."""
    files: tuple[Path, ...]
    """Files of the text."""
    read: tuple[str, ...]
    """Documents that were read, without empty ones."""
    share: float
    """Share of the bytes of the files that was read, 1 for all."""
    notes: tuple[str, ...] = ()
    """Sentences about files that are left out."""

    @property
    def is_whole(self) -> bool:
        """True if all text was read."""
        return self.share == 1

    @property
    def documents(self) -> int:
        """Number of documents, estimated if not all were read."""
        return round(len(self.read) / self.share)

    @property
    def bytes(self) -> int:
        """Number of bytes of text (UTF-8), estimated if not all was read."""
        return round(sum(len(text.encode()) for text in self.read) / self.share)


@dataclass(frozen=True)
class Survey:
    """The text of all versions, and how it becomes documents."""

    versions: tuple[SurveyedVersion, ...]
    reading: Reading


def survey(texts: Sequence[str]) -> Survey:
    """Read the text of versions v1, v2, ..., one for each of `texts`, and choose what a document is.

    A .txt file is one document if every version has many files, else a paragraph, or a line where there are no
    paragraphs. Raises ConfigError for text that is not here, DataError for text that cannot be read.
    """
    names = [f"v{number}" for number in range(1, len(texts) + 1)]
    inputs = [_inputs(name, text) for name, text in zip(names, texts, strict=True)]
    files = [file for each in inputs for file in each.files]
    key = text_key(files)
    rules: tuple[Documents, ...] = ("file", "blank-line", "line")
    if not any(kind_of(str(file)).format == "text" for file in files):
        rules = ("file",)
    elif min(len(each.files) for each in inputs) < ENOUGH_DOCUMENTS:
        rules = ("blank-line", "line")
    for rule in rules:
        reading = Reading(key, rule)
        versions = [_read(*each, reading) for each in zip(names, texts, inputs, strict=True)]
        if min(each.documents for each in versions) >= ENOUGH_DOCUMENTS:
            break
    return Survey(tuple(versions), reading)


def _inputs(name: str, text: str) -> Inputs:
    """Return the files of a version. Raises ConfigError if there are none on this machine."""
    found = expand(name, [text], NOWHERE, fetch=False)
    if found.missing:
        where = "is not on this machine" if "://" in text else "there is no such text"
        raise ConfigError(
            f"--text {text}: {where} ({found.missing[0]}). `lrps init` sizes a config by reading the text: give a "
            "file, a quoted glob or a directory that is here; the name of the config comes before --text"
        )
    return found


def _read(name: str, text: str, inputs: Inputs, reading: Reading) -> SurveyedVersion:
    parts = parts_of(inputs.files, documents=reading.documents)
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number

    texts: list[str] = []
    size, total = 0, sum(part.bytes for part in parts)
    for document in _documents(parts, reading, count):
        if "\0" in document:
            raise DataError(
                f"{text}: a document has NUL characters, so its file is binary or in UTF-16 (it begins with "
                f"{document[:20]!r}). Convert it to UTF-8: iconv -f UTF-16 -t UTF-8 FILE > NEW"
            )
        texts.append(document)
        size += len(document.encode())
        if size >= SURVEYED_BYTES:
            break
    else:
        done = total
    share = min(1.0, max(done, 1) / total) if total else 1.0
    return SurveyedVersion(name, text, inputs.files, tuple(texts), share, inputs.notes)


def _documents(parts: Sequence[InputPart], reading: Reading, count: Progress) -> Iterator[str]:
    read = (document for part in parts for document in read_documents(part, reading, count))
    return (document for document in readable_documents(read, BadDocuments(), Tally()) if document.strip())


def text_key(files: Sequence[Path]) -> str:
    """Return the key of the text in JSON objects: `text`, or the key of the longest string where there is no such key.

    It is taken from the first object of the first such file; `text` if there is none.
    """
    for file in files:
        if kind_of(str(file)).format in ("lines", "json"):
            found = first_object(FileRange(file, 0, size := file_size(file), size))
            strings = {key: len(value) for key, value in found.items() if isinstance(value, str)}
            return "text" if "text" in found or not strings else max(strings, key=lambda key: strings[key])
    return "text"
