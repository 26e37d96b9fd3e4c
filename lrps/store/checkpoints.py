"""Checkpoints as directories: written, published, verified, pinned, set aside and removed.

`step-00000480/` contains data files and `manifest.json`, which lists the size and SHA-256 of each. It is written under
a temporary name and renamed at the end, so a crash leaves earlier checkpoints unchanged. Retention never removes a pin.
Imports no torch; the engine defines the content of the data files.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.base.errors import CheckpointError, DamagedCheckpointError, UnreadableCheckpointError
from lrps.base.files import (
    atomic_write_text,
    fsync_directory,
    fsync_file,
    located,
    make_read_only,
    regular_file,
    sha256_file,
    sha256_range,
)
from lrps.base.foreign_json import JsonError, read_bounded, through_json
from lrps.store.file_errors import HOW_TO_FIX, explained, has_size, unreadable
from lrps.store.layout import PathLayout
from lrps.store.manifest import FORMAT, MANIFEST, MERGED, directory_name, read_manifest, render_manifest
from lrps.store.segments import FileSegment, segments_of, whole_entry

_TEMPORARY, PRUNED, _DAMAGED, _DOUBTFUL = ".tmp-", ".pruned-", ".damaged-", ".doubtful-"
_NAME = re.compile(r"step-([0-9]{8,})")
# Errors of os.link that mean "not on this file system"; files are copied then.
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint."""

    directory: Path
    step: int
    manifest: Mapping[str, Any]
    """Content of manifest.json: format, step, files, identity, and a digest of the rest."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Identity of the state: plan, path, its digest up to the step, tokens, data positions, versions."""
        return self.manifest["identity"]

    @property
    def merged(self) -> tuple[tuple[int, str], ...]:
        """Step and digest of every state whose weights a merged one averages; empty for a state that was trained."""
        return tuple((step, digest) for step, digest in self.identity.get(MERGED, ()))

    @property
    def digest(self) -> str:
        """Digest of the manifest, which has the SHA-256 of every file: it identifies the state."""
        return str(self.manifest["digest"])

    @property
    def segments(self) -> tuple[FileSegment, ...]:
        """Segments of all files: the ranges of bytes that are hashed, each by itself."""
        return segments_of(self.manifest["files"])

    @property
    def bytes(self) -> int:
        """Size of the data files in bytes."""
        return sum(entry["bytes"] for entry in self.manifest["files"].values())


@dataclass(frozen=True)
class Skipped:
    """A directory that has the name of a checkpoint and cannot be used; as text, the reason."""

    directory: Path
    reason: str
    """Reason why it cannot be used."""
    doubtful: bool = False
    """True if its bytes are intact, but a step soon after its state failed."""

    def __str__(self) -> str:
        return self.reason

    @property
    def step(self) -> int:
        """Lineage step in the name of the directory."""
        return int(self.directory.name.rpartition("-")[2])

    @property
    def aside(self) -> Path:
        """Path that `set_aside` renames it to."""
        return self.directory.with_name(f"{_DOUBTFUL if self.doubtful else _DAMAGED}{self.directory.name}")


# Writing


def begin(checkpoints_dir: Path, step: int, name: str | None = None) -> Path:
    """Create an empty temporary directory for the checkpoint of `step`, after removing the leftovers of a crash.

    name: final name of a merged state, the version that is released; by default `directory_name` of the step.
    """
    temporary = checkpoints_dir / f"{_TEMPORARY}{name or directory_name(step)}"
    with explained(f"cannot start the checkpoint of step {step} in {checkpoints_dir}"):
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
    return temporary


def fsync_and_hash(path: Path) -> dict[str, Any]:
    """Make a written file durable and return its entry. Call it on the host that wrote the file."""
    with explained(f"cannot finish {path}"):
        fsync_file(path)
        return whole_entry(path.stat().st_size, sha256_file(path))


def write_small(path: Path, content: str) -> dict[str, Any]:
    """Write a small text file durably and return its entry."""
    with explained(f"cannot write {path}"):
        atomic_write_text(path, content)
    return fsync_and_hash(path)


def publish(
    temporary: Path, step: int, files: Mapping[str, Mapping[str, Any]], identity: Mapping[str, Any]
) -> Checkpoint:
    """Write the manifest and give the temporary directory of `begin` its final name.

    files: name -> result of `fsync_and_hash`, or of `merged_entries` for files with segments. A checkpoint of this step
    is replaced, complete or not: a path that resumes from an earlier step writes this one again. Raises CheckpointError
    if a file is missing or the disk is full; existing checkpoints are not changed then.
    """
    for name, entry in files.items():
        if not has_size(temporary / name, entry["bytes"]):
            raise CheckpointError(
                f"{temporary / name} does not hold the {entry['bytes']} bytes that its writer reported; "
                "the run directory must be one file system that all hosts share"
            )
    final = temporary.with_name(temporary.name.removeprefix(_TEMPORARY))
    # Through JSON and back, so that the manifest that is read later renders to the same text despite tuples and
    # integer keys.
    stated = through_json(dict(identity), finite=True)
    manifest = {"format": FORMAT, "step": step, "files": {**files}, "identity": stated}
    with explained(f"cannot publish the checkpoint of step {step}"):
        # It also makes the names of the other files durable.
        atomic_write_text(temporary / MANIFEST, render_manifest(manifest))
        if final.exists():
            rename_and_remove(final)
        os.rename(temporary, final)
        fsync_directory(final.parent)
    return _read(final)


# Reading


def complete_checkpoints(directory: Path) -> tuple[Checkpoint, ...]:
    """Return the checkpoints in `directory` whose manifest is valid and whose files have their sizes, by step."""
    return tuple(found for _, found in scan(directory) if isinstance(found, Checkpoint))


def incomplete_checkpoints(directory: Path) -> tuple[tuple[int, Path, str], ...]:
    """Return (step, directory, reason) of every directory that has the name of a checkpoint but is not one, by step.

    Raises UnreadableCheckpointError for one that this host cannot read: it may be a checkpoint.
    """
    faults = [(step, found) for step, found in scan(directory) if not isinstance(found, Checkpoint)]
    for _, found in faults:
        if isinstance(found, UnreadableCheckpointError):
            raise found
    return tuple((step, directory / directory_name(step), str(found)) for step, found in faults)


def open_checkpoint(directory: Path) -> Checkpoint:
    """Return the checkpoint in this directory. Raises CheckpointError with the reason if it is not complete."""
    return _read(directory)


def verify_checkpoint(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError if the checkpoint is not complete, or for the first segment whose SHA-256 differs."""
    _read(checkpoint.directory)
    verify_segments(checkpoint, checkpoint.segments)


def verify_segments(checkpoint: Checkpoint, segments: Iterable[FileSegment]) -> None:
    """Read these segments and compare their SHA-256; errors as those of `check_segments`."""
    for each in segments:
        path = checkpoint.directory / each.file
        try:
            with open(path, "rb", buffering=0, opener=regular_file) as file:
                digest = sha256_range(file.fileno(), each.offset, each.bytes)
        except OSError as error:
            raise unreadable(path, error) from error
        check_segments(checkpoint, {each: digest})


def check_segments(checkpoint: Checkpoint, digests: Mapping[FileSegment, str]) -> None:
    """Raise DamagedCheckpointError for the first segment whose SHA-256 is not the manifest's.

    digests: SHA-256 of the bytes that the segments have now. Raises UnreadableCheckpointError instead if a file has
    another size here than in the manifest: this host may see an old state of a shared directory.
    """
    for segment, digest in digests.items():
        if digest == segment.sha256:
            continue
        path, size = checkpoint.directory / segment.file, checkpoint.manifest["files"][segment.file]["bytes"]
        if not has_size(path, size):
            raise unreadable(path, f"it is not {size} bytes long there")
        raise DamagedCheckpointError(
            f"{segment.where(path)} is damaged: its SHA-256 is not the manifest's; {HOW_TO_FIX}"
        )


def fault(checkpoint: Checkpoint) -> CheckpointError | None:
    """Return the error of `verify_checkpoint`; None if the checkpoint is intact."""
    try:
        verify_checkpoint(checkpoint)
    except CheckpointError as error:
        return error
    return None


def damage(checkpoint: Checkpoint) -> CheckpointError | None:
    """Return why a checkpoint cannot be used; None if it is intact.

    Raises UnreadableCheckpointError if this host cannot find out.
    """
    found = fault(checkpoint)
    if isinstance(found, UnreadableCheckpointError):
        raise found
    return found


def find(path_layout: PathLayout, step: int) -> Checkpoint:
    """Return the complete checkpoint of `step`, the pinned one if there is one.

    Raises CheckpointError that lists the steps that exist.
    """
    places = (path_layout.branch_points, path_layout.checkpoints)
    for place in places:
        if (place / directory_name(step)).is_dir():
            return _read(place / directory_name(step))
    steps = sorted({found.step for place in places for found in complete_checkpoints(place)})
    there = f"complete are steps {', '.join(map(str, steps))}" if steps else "there is none yet"
    raise CheckpointError(
        f"{located(path_layout.directory)} has no checkpoint of step {step}; {there}. Train the path first"
    )


# Keeping


def pin(checkpoint: Checkpoint, branch_points_dir: Path) -> Checkpoint:
    """Keep a checkpoint for good, as read-only hard links (copies on another file system). Idempotent.

    Nothing is read if its files are linked already. A damaged pin is set aside and replaced by an intact state. Raises
    CheckpointError if another state of the same step is pinned already: branches may have forked from it.
    """
    final = branch_points_dir / checkpoint.directory.name
    if final.exists():
        if _is_linked(checkpoint, final):
            return _read(final)
        pinned = _intact(final)
        if pinned is None:
            verify_checkpoint(checkpoint)
        elif pinned.manifest == checkpoint.manifest:
            return pinned
        else:
            raise CheckpointError(
                f"{final} is pinned with another content than {checkpoint.directory}, and a pin never changes: "
                "give the plan another `name`, or move the pin and the branches that forked from it out of the run"
            )
    temporary = begin(branch_points_dir, checkpoint.step)
    with explained(f"cannot pin {checkpoint.directory}"):
        for name in (*checkpoint.manifest["files"], MANIFEST):
            _link(checkpoint.directory / name, temporary / name)
        fsync_directory(temporary)
        if final.exists():
            set_aside(final)
        os.rename(temporary, final)
        fsync_directory(branch_points_dir)
    return _read(final)


def set_aside(directory: Path, *, doubtful: bool = False) -> Path:
    """Rename a damaged checkpoint to `.damaged-step-N`, so that it no longer counts, and return its new path.

    doubtful: name it `.doubtful-step-N` instead. Replaces one of the same step that was set aside before. Only `remove`
    deletes it.
    """
    aside = Skipped(directory, "", doubtful).aside
    with explained(f"cannot set {directory} aside"):
        if aside.exists():
            shutil.rmtree(aside)
        os.rename(directory, aside)
        fsync_directory(directory.parent)
    return aside


def remove(directory: Path) -> None:
    """Remove the directory of a checkpoint, or one of `leftovers`, `damaged_ones` or `doubtful_ones`.

    A crash leaves no partial checkpoint under its name.
    """
    with explained(f"cannot remove {directory}"):
        if directory.name.startswith((_TEMPORARY, PRUNED, _DAMAGED, _DOUBTFUL)):
            shutil.rmtree(directory)
        else:
            rename_and_remove(directory)


def leftovers(directory: Path) -> tuple[Path, ...]:
    """Return the leftovers of interrupted saves, pins, merges and removals; work in progress looks the same."""
    names = (f"{_TEMPORARY}*", f"{PRUNED}*")
    return tuple(sorted(path for name in names for path in directory.glob(name)))


def damaged_ones(directory: Path) -> tuple[Path, ...]:
    """Return the damaged checkpoints in a directory that `set_aside` has renamed."""
    return tuple(sorted(directory.glob(f"{_DAMAGED}step-*")))


def doubtful_ones(directory: Path) -> tuple[Path, ...]:
    """Return the doubtful checkpoints in a directory that `set_aside` has renamed."""
    return tuple(sorted(directory.glob(f"{_DOUBTFUL}step-*")))


def rename_and_remove(directory: Path) -> None:
    """Rename the directory before removing it, so that a crash leaves no partial checkpoint under its name."""
    hidden = directory.with_name(f"{PRUNED}{directory.name}")
    if hidden.exists():
        shutil.rmtree(hidden)
    os.rename(directory, hidden)
    fsync_directory(directory.parent)
    shutil.rmtree(hidden)


def _is_linked(checkpoint: Checkpoint, directory: Path) -> bool:
    """Return True if all files of a checkpoint are the same ones in `directory`, so that both have the same bytes."""
    try:
        return all(
            os.path.samefile(checkpoint.directory / name, directory / name)
            for name in (*checkpoint.manifest["files"], MANIFEST)
        )
    except OSError:
        return False


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
        fsync_file(target)
    make_read_only(target)


# Scanning


def _read(directory: Path) -> Checkpoint:
    """Return the checkpoint in `directory`. Raises CheckpointError with the reason if it is not complete.

    That is an UnreadableCheckpointError if this host cannot find out.
    """
    path = directory / MANIFEST
    try:
        content = read_bounded(path)
    except JsonError as error:
        raise CheckpointError(str(error)) from None
    except FileNotFoundError:
        raise CheckpointError(f"{directory} is incomplete: it has no {MANIFEST}; {HOW_TO_FIX}") from None
    except OSError as error:
        raise unreadable(path, error) from error
    manifest = read_manifest(content, path)
    for name, entry in manifest["files"].items():
        if not has_size(directory / name, entry["bytes"]):
            raise CheckpointError(f"{directory / name} is missing or not {entry['bytes']} bytes long; {HOW_TO_FIX}")
    return Checkpoint(directory, manifest["step"], manifest)


def _intact(directory: Path) -> Checkpoint | None:
    """Return the checkpoint in `directory`; None if it is incomplete or damaged. Errors as those of `damage`."""
    try:
        found = _read(directory)
    except UnreadableCheckpointError:
        raise
    except CheckpointError:
        return None
    return found if damage(found) is None else None


def scan(directory: Path) -> list[tuple[int, Checkpoint | CheckpointError]]:
    """Return (step, checkpoint or error) of every directory that has the name of a checkpoint, by step."""
    if not directory.is_dir():
        return []
    named = [(int(match[1]), path) for path in directory.iterdir() if (match := _NAME.fullmatch(path.name))]
    named = [(step, path) for step, path in named if path.name == directory_name(step)]
    found: list[tuple[int, Checkpoint | CheckpointError]] = []
    for step, path in sorted(named):
        try:
            found.append((step, _read(path)))
        except CheckpointError as error:
            found.append((step, error))
    return found
