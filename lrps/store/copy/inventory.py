"""What a run holds, as values: taken from names and sizes alike, whether it lies in a directory or in an object store.

Only names that a run directory has are seen: no lock, no leftover, nothing that leads out of it. A place that any other
tool copied is as good as one that `lrps push` filled. Floor 1: imports no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Protocol

from lrps.base.errors import CheckpointError, LrpsError
from lrps.store.checkpoints import MANIFEST, read_manifest
from lrps.store.copy.attempts import in_order, is_ledger

RELEASE_FACTS = "lrps.json"
"""The last file of a released model: what `lrps export` says of it, with size and SHA-256 of every other file."""
PENDING = ".pushing"
"""Beside the files of a directory that is on its way: what its last file will be."""
READERS = 8
"""Small files that are read at once."""

_NAME = r"[A-Za-z0-9_][A-Za-z0-9._=+-]*"
_STEP = r"step-[0-9]{8,}"
_SEALED = re.compile(
    rf"(?P<directory>{_NAME}/(?:checkpoints/{_STEP}|branch_points/{_STEP}|model(?:-{_STEP})?))/"
    rf"(?P<file>{_NAME}|{re.escape(PENDING)})"
)
_IDENTITY = re.compile(rf"({_NAME})/path\.json")
_LOG = re.compile(rf"(?:{_NAME}/)?ledger/[0-9]+\.jsonl|{_NAME}/metrics\.jsonl")
_DOCUMENT = re.compile(rf"plan\.json|report/(?:{_NAME}/)?{_NAME}")


class Readable(Protocol):
    """A place that holds files under names such as `main/path.json`."""

    shown: str

    def sizes(self) -> dict[str, int]: ...

    def read(self, name: str) -> bytes | None: ...


@dataclass(frozen=True)
class Sealed:
    """A directory that exists once its last file, the list of all others, does: a checkpoint or a released model."""

    name: str
    """`main/checkpoints/step-00000480`."""
    listing: bytes
    """The last file; empty if it is not there."""
    files: Mapping[str, Mapping[str, Any]]
    """What the last file lists: name -> {"bytes", "sha256"}."""
    there: Mapping[str, int]
    """The files that lie there, with their sizes."""
    pending: bytes = b""
    """The last file of an unfinished push."""
    fault: str | None = None
    """Why it is not whole, if it is not: by names and sizes, no data file was read."""

    @property
    def path(self) -> str:
        return self.name.partition("/")[0]

    @property
    def kind(self) -> str:
        """checkpoints | branch_points | model."""
        place = self.name.split("/")[1]
        return place if place in ("checkpoints", "branch_points") else "model"

    @property
    def step(self) -> int:
        """Of a checkpoint."""
        return int(self.name.rpartition("-")[2])

    @property
    def last(self) -> str:
        """The name of its last file."""
        return RELEASE_FACTS if self.kind == "model" else MANIFEST


@dataclass(frozen=True)
class Inventory:
    """Everything of a run that is worth a copy. where: how the place may be called."""

    where: str
    sealed: Mapping[str, Sealed]
    identities: Mapping[str, bytes]
    """Path -> its path.json."""
    logs: Mapping[str, bytes]
    """Files that only grow: ledgers and metrics, up to the last whole line."""
    documents: Mapping[str, bytes]
    """plan.json and the report, which are made anew at will."""

    def ledger(self, path: str) -> dict[str, bytes]:
        """The attempts of a path, oldest first; of the run itself for an empty path."""
        return {name: self.logs[name] for name in in_order(self.logs) if is_ledger(name, path)}

    def whole(self, path: str, kind: str) -> list[Sealed]:
        """What is whole of a kind and path, by name."""
        found = (each for each in self.sealed.values() if (each.path, each.kind, each.fault) == (path, kind, None))
        return sorted(found, key=lambda each: (len(each.name), each.name))


def take_inventory(place: Readable) -> Inventory:
    """List a place and read what is small: manifests before ledgers, so that a ledger knows every checkpoint found."""
    sizes = place.sizes()
    directories: dict[str, dict[str, int]] = {}
    for name, size in sizes.items():
        if match := _SEALED.fullmatch(name):
            directories.setdefault(match["directory"], {})[match["file"]] = size
    with ThreadPoolExecutor(READERS) as pool:
        read = partial(_read_all, pool, place.read)
        sealed = list(pool.map(lambda item: _sealed(place.read, *item), sorted(directories.items())))
        logs = read(name for name in sizes if _LOG.fullmatch(name))
        identities = read(name for name in sizes if _IDENTITY.fullmatch(name))
        documents = read(name for name in sizes if _DOCUMENT.fullmatch(name))
    return Inventory(
        place.shown,
        {each.name: each for each in sealed},
        {name.partition("/")[0]: content for name, content in identities.items()},
        {name: content[: content.rfind(b"\n") + 1] for name, content in logs.items()},
        documents,
    )


def _read_all(pool: ThreadPoolExecutor, read: Callable[[str], bytes | None], names: Iterable[str]) -> dict[str, bytes]:
    ordered = sorted(names)
    contents = zip(ordered, pool.map(read, ordered), strict=True)
    return {name: content for name, content in contents if content is not None}


def _sealed(read: Callable[[str], bytes | None], name: str, there: dict[str, int]) -> Sealed:
    pending = (read(f"{name}/{PENDING}") or b"") if there.pop(PENDING, None) is not None else b""
    empty = Sealed(name, b"", {}, there, pending)
    last = empty.last
    listing = (read(f"{name}/{last}") if last in there else None) or b""
    if not listing:
        return Sealed(name, b"", {}, there, pending, f"incomplete: it has no {last}")
    try:
        files = _listed(listing, PurePosixPath(name) / last)
    except LrpsError as error:
        return Sealed(name, listing, {}, there, pending, str(error).partition(";")[0])
    wrong = [file for file, entry in files.items() if there.get(file) != entry["bytes"]]
    fault = f"incomplete: {wrong[0]} is missing or not {files[wrong[0]]['bytes']} bytes long" if wrong else None
    return Sealed(name, listing, files, there, pending, fault)


def _listed(content: bytes, path: PurePosixPath) -> dict[str, dict[str, Any]]:
    """The files that a last file lists. CheckpointError if it is damaged, or names a file that is none of its own."""
    try:
        files = read_manifest(content, path)["files"] if path.name == MANIFEST else json.loads(content)["files"]
        listed = {
            str(name): {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])} for name, entry in files.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from None
    if wrong := [name for name in listed if not re.fullmatch(_NAME, name) or name == path.name]:
        raise CheckpointError(f"{path} names the file {wrong[0]!r}, which a run does not have")
    return listed
