"""The newest checkpoint of a path that can be used, and the newer ones that cannot. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from lrps.base.errors import CheckpointError, UnreadableCheckpointError
from lrps.store.checkpoints import Checkpoint, Skipped, damage, directory_name, scan


def newest_complete(
    *directories: Path, doubtful: Collection[int] = (), damaged: Mapping[Path, str] | None = None
) -> tuple[Checkpoint | None, tuple[Skipped, ...]]:
    """Return the newest complete checkpoint, and the newer ones that were skipped. Reads manifests and sizes only.

    doubtful: steps whose states are skipped. damaged: directories of checkpoints that are skipped, with the reasons.
    Raises UnreadableCheckpointError for one that this host cannot read: it may be intact.
    """
    skipped: list[Skipped] = []
    everything = [(*found, directory) for directory in directories for found in scan(directory)]
    for step, found, directory in sorted(everything, key=lambda entry: entry[0], reverse=True):
        where = directory / directory_name(step)
        if step in doubtful:
            skipped.append(Skipped(where, f"{where} is not confirmed, and a step soon after it failed", doubtful=True))
        elif damaged is not None and where in damaged:
            skipped.append(Skipped(where, damaged[where]))
        elif isinstance(found, Checkpoint):
            return found, tuple(skipped)
        elif isinstance(found, UnreadableCheckpointError):
            raise found
        else:
            skipped.append(Skipped(where, skip_reason(found)))
    return None, tuple(skipped)


def newest_intact(*directories: Path) -> tuple[Checkpoint | None, tuple[Skipped, ...]]:
    """Return the newest checkpoint whose files all have their hashes, and the newer ones that were skipped.

    Reads checkpoints from the newest one on, until one is intact, all in this process. Raises UnreadableCheckpointError
    for one that this host cannot read.
    """
    damaged: dict[Path, str] = {}
    while True:
        newest, skipped = newest_complete(*directories, damaged=damaged)
        if newest is None or (why := damage(newest)) is None:
            return newest, skipped
        damaged[newest.directory] = skip_reason(why)


def skip_reason(error: CheckpointError) -> str:
    """Return what is wrong with a checkpoint that is skipped, without how to fix it."""
    return str(error).partition("; ")[0]
