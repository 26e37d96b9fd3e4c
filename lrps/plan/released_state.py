"""Saved states by the form of their weights: where the weights of a release are. Imports no torch."""

from __future__ import annotations

from lrps.base.errors import CheckpointError
from lrps.ledger.reader import MERGE, RAW
from lrps.paths.graph import Release
from lrps.plan.plan import Plan
from lrps.store.abandoned import averages_abandoned
from lrps.store.checkpoints import Checkpoint, find, open_checkpoint


def merge_release(plan: Plan, path: str, step: int) -> Release | None:
    """Return the release that is the merge of states of a path up to a step; None if there is none."""
    place = (path, step, MERGE)
    return next((each for each in plan.graph.releases if (each.path, each.step, each.form) == place), None)


def find_state(plan: Plan, path: str, step: int, form: str = RAW) -> Checkpoint:
    """Return the checkpoint with the weights of a path after `step` in a form: a merged state for a released merge.

    Raises CheckpointError if it is not on disk.
    """
    layout = plan.layout.path(path)
    if form != MERGE:
        return find(layout, step)
    release = merge_release(plan, path, step)
    if release is None:
        raise CheckpointError(f"{path} releases no merge at step {step}")
    merged = open_checkpoint(layout.merged / release.version)
    if averages_abandoned(merged, plan.graph.by_name[path].amendments):
        raise CheckpointError(
            f"{merged.directory} averages states that a rewind has abandoned; `lrps run` makes it anew"
        )
    return merged


def checkpoint_digest(plan: Plan, path: str, step: int, form: str = RAW) -> str | None:
    """Return the digest of a saved state; None if it is not on disk."""
    try:
        return find_state(plan, path, step, form).digest
    except CheckpointError:
        return None
