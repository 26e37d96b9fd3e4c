"""What rank 0 does to the files of a path beside saving: what is pinned, what is cleared and what is set aside.

Only the process that holds the path's lock calls this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from lrps.base.errors import CheckpointError
from lrps.base.locks import path_lock
from lrps.plan.origin import Origin
from lrps.store.checkpoints import complete_checkpoints, fault, leftovers, pin, remove, set_aside
from lrps.store.layout import PathLayout, RunLayout

Say = Callable[[str], None]
"""Tells a person a line."""


def clear_leftovers(layout: PathLayout, say: Say) -> None:
    """Remove what interrupted saves, pins and removals left, a whole checkpoint each; what cannot go is told only."""
    for directory in (*leftovers(layout.checkpoints), *leftovers(layout.branch_points)):
        where = f"{directory.parent.name}/{directory.name}"
        try:
            remove(directory)
        except CheckpointError as error:
            say(f"{where}, left by an interrupted save, stays: {error}")
        else:
            say(f"removed {where}, left by an interrupted save, pin or removal")


def set_aside_skipped(origin: Origin) -> None:
    """Take newer, damaged checkpoints out of the way: they must not be pinned, nor count among those that are kept."""
    for skipped in origin.skipped:
        set_aside(skipped.directory)


def pin_saved(layout: PathLayout, steps: Collection[int], last: int, say: Say) -> None:
    """Pin the periodic checkpoints of these steps, up to `last`: a crash came before the pin, or the plan has grown.

    CheckpointError if one cannot be kept. One that is damaged, here and as a pin, is told only: whoever forks from it
    is refused, and the path itself does not need it.
    """
    for checkpoint in complete_checkpoints(layout.checkpoints):
        if checkpoint.step in steps and checkpoint.step <= last:
            try:
                pin(checkpoint, layout.branch_points)
            except CheckpointError:
                if (damage := fault(checkpoint)) is None:
                    raise
                say(f"the state of step {checkpoint.step}, which other paths or releases need, is lost: {damage}")


def pin_fork(origin: Origin, parent: str, run: RunLayout) -> None:
    """Pin what a path forks from, where the parent's plan knew nothing of the fork: its retention must not remove it.

    LineageError while the parent is being trained, and could remove it at this moment.
    """
    layout = run.path(parent)
    assert origin.checkpoint is not None
    if origin.checkpoint.directory.parent != layout.branch_points:
        with path_lock(layout.directory):
            pin(origin.checkpoint, layout.branch_points)
