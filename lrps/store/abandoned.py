"""States of a path that a rewind has abandoned: moved out of the way, and never deleted. Reads no manifest."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lrps.base.errors import CheckpointError
from lrps.base.files import fsync_directory
from lrps.paths.amendments import GENERATION, Amendments, abandoned_by
from lrps.store.checkpoints import Checkpoint
from lrps.store.layout import PathLayout

_NAME = re.compile(r"step-([0-9]{8,})")


def has_states(layout: PathLayout) -> bool:
    """Return whether a path has a checkpoint by name, complete or not."""
    return any(_beyond(place, -1) for place in (layout.checkpoints, layout.branch_points))


def averages_abandoned(merged: Checkpoint, amendments: Amendments) -> bool:
    """Return whether a merged state averages states that a rewind has abandoned since. amendments: of its path."""
    return abandoned_by(amendments, int(merged.identity.get(GENERATION, 0)), merged.step) is not None


def abandon(layout: PathLayout, step: int, amendment: int) -> None:
    """Move the states of a path beyond lineage step `step` to the folder of the amendment that abandoned them.

    Complete or not; each by a rename, so that a crash leaves every state in one of the two places. Raises
    CheckpointError if a state cannot be moved, or if that folder already has one of the same step.
    """
    target = layout.abandoned(amendment)
    for place, aside in ((layout.checkpoints, target.checkpoints), (layout.branch_points, target.branch_points)):
        beyond = _beyond(place, step)
        try:
            if beyond:
                aside.mkdir(parents=True, exist_ok=True)
            for directory in beyond:
                if (aside / directory.name).exists():
                    raise CheckpointError(f"{aside / directory.name} exists: move it, or {directory}, elsewhere")
                os.rename(directory, aside / directory.name)
            if beyond:
                fsync_directory(aside)
                fsync_directory(place)
        except OSError as error:
            raise CheckpointError(
                f"cannot move states of {place} to {aside}: {error}; make both writable, then repeat the command"
            ) from None


def _beyond(place: Path, step: int) -> list[Path]:
    """Return the directories with the name of a checkpoint of a later step, by step."""
    named = ((int(match[1]), path) for path in place.glob("step-*") if (match := _NAME.fullmatch(path.name)))
    return [path for number, path in sorted(named) if number > step]
