"""Kinds of text files, by the suffixes of their names: a format and, but for parquet, a compression.

Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from lrps.base.errors import DataError

Format = Literal["text", "lines", "json", "parquet"]
Compression = Literal["gzip", "bz2", "xz", "zstd"]

FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".md": "text",
    ".markdown": "text",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "json",
    ".parquet": "parquet",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd", ".zstd": "zstd"}

MARKDOWN = (".md", ".markdown")
"""Suffixes of files that count as text of a directory only if it has no other: a README beside data describes it."""

READABLE = ".txt, .md, .jsonl, .ndjson, .json (also with .gz, .bz2, .xz, .zst or .zstd) or .parquet"
"""Suffixes of the files that can be read, for messages."""


@dataclass(frozen=True)
class FileKind:
    """Format of a text file, and its compression; None for a file that is not compressed as a whole."""

    format: Format
    compression: Compression | None = None


def find_kind(name: str) -> FileKind | None:
    """Return the kind of a file by its name, in lower or upper case; None if it cannot be read."""
    stem, compression = name.lower(), None
    for suffix, found in COMPRESSIONS.items():
        if stem.endswith(suffix):
            stem, compression = stem.removesuffix(suffix), found
            break
    file_format = next((found for suffix, found in FORMATS.items() if stem.endswith(suffix)), None)
    if file_format is None or (file_format == "parquet" and compression):
        return None
    return FileKind(file_format, compression)


def text_of_directory(names: Iterable[str]) -> set[str]:
    """Return the names of the files of a directory that are its text: Markdown only if there is no other text."""
    readable = {name for name in names if find_kind(name)}
    return {name for name in readable if not is_markdown(name)} or readable


def is_markdown(name: str) -> bool:
    """Return True for the name of a Markdown file, plain or compressed."""
    stem = name.lower()
    return any(stem.removesuffix(compression).endswith(MARKDOWN) for compression in ("", *COMPRESSIONS))


def kind_of(path: str) -> FileKind:
    """Return the kind of a file by its path or address. Raises DataError if it cannot be read."""
    name = path.rpartition("/")[2]
    if (kind := find_kind(name)) is None:
        suffixes = PurePath(name).suffixes
        unknown = "".join(suffixes[-2:] if suffixes[-1:] and suffixes[-1].lower() in COMPRESSIONS else suffixes[-1:])
        raise DataError(f"{path}: cannot read {unknown or 'a file without a suffix'}. Give {READABLE} files.")
    return kind
