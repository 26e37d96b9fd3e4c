"""Checkpoints of a folder that retention keeps, and the removal of the others."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from lrps.ledger.confirmed import SavedStates
from lrps.store.checkpoints import (
    MANIFEST,
    PRUNED,
    Checkpoint,
    complete_checkpoints,
    rename_and_remove,
)
from lrps.store.file_errors import explained
from lrps.store.retention import retention, rewindable, younger


def prune_checkpoints(
    checkpoints_dir: Path,
    keep_last: int,
    keep_every_steps: int | None = None,
    keep_hours: float | None = None,
    *,
    states: SavedStates | None = None,
    spread: bool = False,
) -> list[Path]:
    """Remove the complete checkpoints that `retention` does not keep, and return their directories.

    Checkpoints that other paths need are pinned in another directory. Incomplete ones are left for inspection.
    states and spread: as in `rewindable`, by default of a path without a ledger.
    """
    complete = {checkpoint.step: checkpoint for checkpoint in complete_checkpoints(checkpoints_dir)}
    there = {step: checkpoint.directory for step, checkpoint in complete.items()}
    others = young(complete, keep_hours) | rewindable(there, states or SavedStates(), spread)
    stays = retention(there, {}, keep_last, keep_every_steps, others)
    removed = [directory for step, directory in there.items() if stays[step] is None]
    with explained(f"cannot prune {checkpoints_dir}"):
        for leftover in checkpoints_dir.glob(f"{PRUNED}*"):
            shutil.rmtree(leftover)
        for directory in removed:
            rename_and_remove(directory)
    return removed


def young(checkpoints: Mapping[int, Checkpoint], keep_hours: float | None) -> dict[int, str]:
    """Return step -> reason to keep it, of the checkpoints written less than `keep_hours` ago; None keeps none."""
    written = {step: (each.directory / MANIFEST).stat().st_mtime for step, each in checkpoints.items()}
    return younger(written, time.time(), keep_hours)
