"""What identifies the values of a checkpoint, without where it was saved."""

from __future__ import annotations

from lrps.store.checkpoints import Checkpoint


def values_digests(checkpoint: Checkpoint) -> list[str]:
    """The SHA-256 of the segments with values, in the order of ranks."""
    return [segment.sha256 for segment in checkpoint.segments if segment.file.startswith("fragments")]
