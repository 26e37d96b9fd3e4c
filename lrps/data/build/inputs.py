"""The input files of a version: its paths, globs, directories and addresses, expanded in one place, in a fixed order.

Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from lrps.base.addresses import redact, scheme_of
from lrps.base.errors import ConfigError, DataError
from lrps.data.build.kinds import READABLE, is_markdown, kind_of, text_of_directory
from lrps.data.build.remote_text import find_copies, make_copies

NAMED = 3
"""Number of files that a note names."""


@dataclass(frozen=True)
class Inputs:
    """The input files of some text, in order."""

    files: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()
    """Descriptions of the texts without files here: absolute paths, and addresses that are not in the cache."""
    notes: tuple[str, ...] = ()
    """Sentences about files of directories that are left out."""


def expand(name: str, texts: Sequence[str], cache: Path, *, fetch: bool = True) -> Inputs:
    """Return the files of the texts of a version (or of a part of one) called `name`: each text sorted, in their order.

    cache: folder to which files at addresses are copied once; without `fetch` only files that are there are found, and
    no network is needed. Raises ConfigError for a file that is named twice, DataError for one of an unknown kind, for a
    pipe or a device, and for an address that cannot be read.
    """
    found = [_expand(text, cache, fetch) for text in texts]
    files = tuple(file for each in found for file in each.files)
    _refuse_duplicates(name, files)
    for file in files:
        kind_of(str(file))
        if file.exists() and not file.is_file():
            raise DataError(f"{os.path.abspath(file)}: a pipe or a device, no regular file; copy it to a file")
    return Inputs(
        files, tuple(m for each in found for m in each.missing), tuple(n for each in found for n in each.notes)
    )


def distinct_names(files: Sequence[Path]) -> list[str]:
    """Return the name of every file; equal names come with as many of their folders as distinguish them."""
    parts = [PurePath(os.path.abspath(file)).parts for file in files]
    depths = [1] * len(files)
    while True:
        names = ["/".join(part[-depth:]) for part, depth in zip(parts, depths, strict=True)]
        counts = Counter(names)
        longer = [k for k, name in enumerate(names) if counts[name] > 1 and depths[k] < len(parts[k])]
        if not longer:
            return names
        for k in longer:
            depths[k] += 1


def _expand(text: str, cache: Path, fetch: bool) -> Inputs:
    if text.startswith("pipe:"):
        raise ConfigError("text: a command has no kind of file; write its output to a file, and name that")
    if scheme_of(text) in ("file", "local") and "://" in text:
        text = text.partition("://")[2]
    elif scheme_of(text) and "://" in text:
        copies = make_copies(text, cache) if fetch else find_copies(text, cache)
        if copies is None:
            return Inputs(missing=(redact(text),))
        return Inputs(copies.files, notes=_notes(redact(text), copies.left_out))
    return _local(text)


def _local(text: str) -> Inputs:
    path, absolute = Path(text), os.path.abspath(text)
    if path.is_dir():
        return _directory(path)
    if path.exists():
        return Inputs((path,))
    if not glob.has_magic(text):
        return Inputs(missing=(absolute,))
    matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
    folders = [_directory(match) for match in matches if match.is_dir()]
    files = {*(match for match in matches if not match.is_dir()), *(file for each in folders for file in each.files)}
    if not files:
        return Inputs(missing=(f"{absolute} (no file matches)",))
    return Inputs(tuple(sorted(files)), notes=tuple(note for folder in folders for note in folder.notes))


def _directory(folder: Path) -> Inputs:
    found = list(_walk(folder, (folder.resolve(),)))
    taken = text_of_directory(str(path) for path in found if not path.name.startswith(".") and not path.is_dir())
    files = [path for path in found if str(path) in taken]
    others = [path for path in found if str(path) not in taken]
    absolute = os.path.abspath(folder)
    if not files:
        return Inputs(missing=(f"{absolute} (no file of {READABLE} in this directory)",))
    left_out = sorted(path.relative_to(folder).as_posix() for path in others)
    return Inputs(tuple(sorted(files)), notes=_notes(absolute, left_out))


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield all files below a folder, and the hidden folders, which are not entered."""
    for path in folder.iterdir():
        if not path.is_dir() or path.name.startswith("."):
            yield path
        elif (real := path.resolve()) in above:
            raise DataError(f"{os.path.abspath(path)}: a link to a directory that it is in; remove it, or give a glob")
        else:
            yield from _walk(path, (*above, real))


def _notes(place: str, left_out: Sequence[str]) -> tuple[str, ...]:
    if not left_out:
        return ()
    more = f" and {len(left_out) - NAMED:,} more" if len(left_out) > NAMED else ""
    markdown = "; Markdown beside other text needs a glob of its own" if any(map(is_markdown, left_out)) else ""
    return (f"left out of {place}: {', '.join(left_out[:NAMED])}{more}, hidden or not {READABLE}{markdown}",)


def _refuse_duplicates(name: str, files: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in files:
        if (other := seen.setdefault(os.path.realpath(path), path)) is not path:
            same = f"{path} twice" if other == path else f"{other} and {path}, which are the same file"
            raise ConfigError(f"the text of {name} names {same}: remove one of them from its `text:`")
