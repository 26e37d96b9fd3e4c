"""Manifests of checkpoints as they were written in the format lrps-checkpoint/1: each file hashed as a whole."""

from __future__ import annotations

from lrps.base.files import sha256_file
from lrps.store.checkpoints import Checkpoint, open_checkpoint
from lrps.store.manifest import MANIFEST, render_manifest
from lrps.store.segments import whole_entry


def with_first_manifest(checkpoint: Checkpoint) -> Checkpoint:
    """Rewrite the manifest of a checkpoint in the first format, of the files that are there now."""
    files = [path for path in checkpoint.directory.iterdir() if path.name != MANIFEST]
    manifest = {
        **checkpoint.manifest,
        "format": "lrps-checkpoint/1",
        "files": {path.name: whole_entry(path.stat().st_size, sha256_file(path)) for path in files},
    }
    (checkpoint.directory / MANIFEST).write_text(render_manifest(manifest))
    return open_checkpoint(checkpoint.directory)
