"""The inventory of a run: its checkpoints, models, ledgers and documents, in a directory or in an object store.

It is made from names, sizes and small files. Only names of a run directory are recognized, so locks, temporary files
and names that lead out of it are ignored. Copies of other tools are treated like those of `lrps push`. Must not import
torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Protocol

from lrps.base.errors import CheckpointError, LrpsError, TransferError
from lrps.base.foreign_json import parse_json
from lrps.paths.amendments import GENERATION
from lrps.store.copy.attempts import in_order, is_ledger
from lrps.store.layout import HELDOUT, RELEASE_FACTS
from lrps.store.manifest import MANIFEST, read_manifest
from lrps.store.segments import content_digest, entry_fault, segment_sizes

PENDING = ".pushing"
"""File in a directory that is being pushed: the content of its future last file."""
LARGEST_FILE = 2**28
"""Largest size of a manifest, a path.json or a document in bytes."""
LARGEST_LOG = 2**31
"""Largest size of a ledger or of the metrics of a path in bytes: ten million logged steps."""
LARGEST_SUM = 2**33
"""Largest size of all files together that are read into memory, in bytes."""
_ADVICE = "this is no run of lrps, or not one to copy as a whole: copy the paths that you need by hand"
READERS = 8
"""Number of small files that are read in parallel."""

_NAME = r"[A-Za-z0-9_][A-Za-z0-9._=+-]*"
_STEP = r"step-[0-9]{8,}"
_DIRECTORY = re.compile(
    rf"(?P<directory>{_NAME}/(?:(?:abandoned/[0-9]+/)?(?:checkpoints|branch_points)/{_STEP}|merged/{_NAME}|"
    rf"model(?:(?:-(?:ema|merge))?-{_STEP})?))/"
    rf"(?P<file>{_NAME}|{re.escape(PENDING)})"
)
_IDENTITY = re.compile(rf"({_NAME})/path\.json")
_LOG = re.compile(rf"(?:{_NAME}/)?ledger/[0-9]+\.jsonl|{_NAME}/metrics\.jsonl")
_DOCUMENT = re.compile(rf"(?:plan|run)\.json|report/(?:{_NAME}/)?{_NAME}|{_NAME}/{HELDOUT}/{_NAME}")


class Readable(Protocol):
    """A store of files with names such as `main/path.json`."""

    label: str

    def sizes(self) -> dict[str, int]: ...

    def read(self, name: str) -> bytes | None: ...


@dataclass(frozen=True)
class StateDirectory:
    """A checkpoint, merged state or released model: a directory that is finalized by its last file, a list of all."""

    name: str
    """Name such as `main/checkpoints/step-00000480`."""
    listing: bytes
    """Content of the last file; empty if it does not exist."""
    files: Mapping[str, Mapping[str, Any]]
    """Files listed in the last file: name -> {"bytes", "sha256", "segments"}, see `_listed`."""
    present: Mapping[str, int]
    """Files that exist, with their sizes."""
    pending: bytes = b""
    """Content of PENDING, from an unfinished push."""
    fault: str | None = None
    """Why the directory is incomplete, judged by names and sizes without reading data files; None if complete."""

    @property
    def path(self) -> str:
        return self.name.partition("/")[0]

    @property
    def kind(self) -> str:
        """Kind of the directory: `checkpoints`, `branch_points`, `abandoned` (by a rewind), `merged` or `model`."""
        place = self.name.split("/")[1]
        return place if place in ("checkpoints", "branch_points", "abandoned", "merged") else "model"

    @property
    def is_release(self) -> bool:
        """True for what is made of saved states: a merged state or an exported model."""
        return self.kind in ("merged", "model")

    @property
    def step(self) -> int:
        """Step of a checkpoint."""
        return int(self.name.rpartition("-")[2])

    @property
    def history(self) -> int:
        """Number of the history of a complete checkpoint, see paths/amendments.py."""
        return int(parse_json(self.listing, self.name)["identity"].get(GENERATION, 0))

    @property
    def last(self) -> str:
        """Name of the last file."""
        return RELEASE_FACTS if self.kind == "model" else MANIFEST


@dataclass(frozen=True)
class Inventory:
    """Everything of a run that is copied. where: name of its store in messages."""

    where: str
    directories: Mapping[str, StateDirectory]
    identities: Mapping[str, bytes]
    """Mapping from paths to their path.json."""
    logs: Mapping[str, bytes]
    """Append-only files (ledgers and metrics), up to their last complete line."""
    documents: Mapping[str, bytes]
    """Files of the run as a whole, plan.json, run.json and the report; and the losses of held-out sequences."""

    def ledger(self, path: str) -> dict[str, bytes]:
        """Return the ledger files of a path, oldest attempt first; those of the run for path ""."""
        return {name: self.logs[name] for name in in_order(self.logs) if is_ledger(name, path)}

    def complete(self, path: str, kind: str) -> list[StateDirectory]:
        """Return the complete directories of a path and kind, ordered by name."""
        found = (each for each in self.directories.values() if (each.path, each.kind, each.fault) == (path, kind, None))
        return sorted(found, key=lambda each: (len(each.name), each.name))


def list_inventory(store: Readable) -> Inventory:
    """List a store and read its small files.

    Manifests are read before ledgers, so that the ledgers have the records of all checkpoints that were found.
    """
    sizes = store.sizes()
    _check_sizes(store.label, sizes)
    found: dict[str, dict[str, int]] = {}
    for name, size in sizes.items():
        if match := _DIRECTORY.fullmatch(name):
            found.setdefault(match["directory"], {})[match["file"]] = size
    with ThreadPoolExecutor(READERS) as pool:
        read = partial(_read_all, pool, store.read)
        directories = list(pool.map(lambda item: _directory(store.read, *item), sorted(found.items())))
        logs = read(name for name in sizes if _LOG.fullmatch(name))
        identities = read(name for name in sizes if _IDENTITY.fullmatch(name))
        documents = read(name for name in sizes if _DOCUMENT.fullmatch(name))
    return Inventory(
        store.label,
        {each.name: each for each in directories},
        {name.partition("/")[0]: content for name, content in identities.items()},
        {name: content[: content.rfind(b"\n") + 1] for name, content in logs.items()},
        documents,
    )


def _check_sizes(where: str, sizes: Mapping[str, int]) -> None:
    """Raise TransferError if a file that is read into memory is too large, or if all of them are."""
    small = {name: size for name, size in sizes.items() if _is_small(name)}
    for name, size in small.items():
        if size > (largest := LARGEST_LOG if _LOG.fullmatch(name) else LARGEST_FILE):
            raise TransferError(f"{where}: {name} has {size:,} bytes, and at most {largest:,} are read; {_ADVICE}")
    if (total := sum(small.values())) > LARGEST_SUM:
        raise TransferError(
            f"{where}: its ledgers, metrics and documents have {total:,} bytes in all, and at most {LARGEST_SUM:,} are "
            f"read; {_ADVICE}"
        )


def _is_small(name: str) -> bool:
    """Return True for a file that is read into memory."""
    if match := _DIRECTORY.fullmatch(name):
        return match["file"] in (MANIFEST, RELEASE_FACTS, PENDING)
    return any(pattern.fullmatch(name) for pattern in (_LOG, _IDENTITY, _DOCUMENT))


def _read_all(pool: ThreadPoolExecutor, read: Callable[[str], bytes | None], names: Iterable[str]) -> dict[str, bytes]:
    ordered = sorted(names)
    contents = zip(ordered, pool.map(read, ordered), strict=True)
    return {name: content for name, content in contents if content is not None}


def _directory(read: Callable[[str], bytes | None], name: str, present: dict[str, int]) -> StateDirectory:
    pending = (read(f"{name}/{PENDING}") or b"") if present.pop(PENDING, None) is not None else b""
    empty = StateDirectory(name, b"", {}, present, pending)
    last = empty.last
    listing = (read(f"{name}/{last}") if last in present else None) or b""
    if not listing:
        return StateDirectory(name, b"", {}, present, pending, f"incomplete: it has no {last}")
    try:
        files = _listed(listing, PurePosixPath(name) / last)
    except LrpsError as error:
        return StateDirectory(name, listing, {}, present, pending, str(error).partition(";")[0])
    wrong = [file for file, entry in files.items() if present.get(file) != entry["bytes"]]
    fault = f"incomplete: {wrong[0]} is missing or not {files[wrong[0]]['bytes']} bytes long" if wrong else None
    return StateDirectory(name, listing, files, present, pending, fault)


def _listed(content: bytes, path: PurePosixPath) -> dict[str, dict[str, Any]]:
    """Return name -> {"bytes", "sha256", "segments"} of the files that a last file lists.

    sha256: their `content_digest`; segments: sizes of the segments that it is made of. Raises CheckpointError if the
    last file is damaged or has an invalid name.
    """
    try:
        files = (
            read_manifest(content, path)["files"] if path.name == MANIFEST else parse_json(content, str(path))["files"]
        )
        listed = {
            str(name): {
                "bytes": int(entry["bytes"]),
                "sha256": content_digest(entry),
                "segments": segment_sizes(entry),
            }
            for name, entry in files.items()
        }
        faults = [f"{name}: {fault}" for name, entry in files.items() if (fault := entry_fault(entry)) is not None]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from None
    if faults:
        raise CheckpointError(f"{path} lists {faults[0]}")
    if wrong := [name for name in listed if not re.fullmatch(_NAME, name) or name == path.name]:
        raise CheckpointError(f"{path} names the file {wrong[0]!r}, which a run does not have")
    return listed
