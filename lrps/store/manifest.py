"""The manifest of a checkpoint: its file as text, checked when it is read. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from lrps.base.errors import CheckpointError, UnreadableCheckpointError
from lrps.store.file_errors import HOW_TO_FIX
from lrps.store.segments import entry_fault

FORMAT = "lrps-checkpoint/2"
"""Format of the checkpoints that are written."""
READ_FORMATS = ("lrps-checkpoint/1", FORMAT)
"""Formats of the checkpoints that are read. In the first one every rank has a file, which is hashed as a whole."""
MANIFEST = "manifest.json"
MERGED = "merged"
"""Key of the identity of a merged state: [step, digest] of every state whose weights it averages."""


def directory_name(step: int) -> str:
    """Return the name of a checkpoint's directory, such as `step-00000480`: names sort like steps."""
    return f"step-{step:08d}"


def render_manifest(manifest: Mapping[str, Any]) -> str:
    """Return the canonical text of a manifest, with a digest of the rest, which reveals any changed byte."""
    body = {key: value for key, value in manifest.items() if key != "digest"}
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({**body, "digest": digest}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_manifest(content: bytes, path: PurePath) -> dict[str, Any]:
    """Return the manifest in a file with this content. path: names the file in errors, and its directory the step.

    Raises CheckpointError for a damaged one, UnreadableCheckpointError for one in a format of a later lrps.
    """
    try:
        text = content.decode()
        manifest = json.loads(text)
        intact = isinstance(manifest, dict) and render_manifest(manifest) == text
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); {HOW_TO_FIX}") from error
    if not intact:
        raise CheckpointError(f"{path} was changed after it was written; {HOW_TO_FIX}")
    if manifest.get("format") not in READ_FORMATS:  # It is intact, so that no older state may take its place.
        raise UnreadableCheckpointError(
            f"{path} has format {manifest.get('format')!r}, and this lrps reads {' and '.join(READ_FORMATS)}: use the "
            "lrps that wrote it"
        )
    if (name := _final_name(manifest)) != path.parent.name:
        what = f"the merged state of {name}" if MERGED in manifest["identity"] else f"step {manifest['step']}"
        raise CheckpointError(f"{path.parent} holds {what}: give the directory its own name back")
    for name, entry in manifest["files"].items():
        if Path(name).name != name or name == "..":  # A run may come from elsewhere, and pins write under these names.
            raise CheckpointError(f"{path} names the file {name!r}, which is not in its directory; {HOW_TO_FIX}")
        if (fault := entry_fault(entry)) is not None:
            raise CheckpointError(f"{path} lists {name} wrongly: {fault}; {HOW_TO_FIX}")
    return manifest


def _final_name(manifest: Mapping[str, Any]) -> str:
    """Return the name of a checkpoint's directory: that of the version for a merged state."""
    identity = manifest["identity"]
    return str(identity["version"]) if MERGED in identity else directory_name(manifest["step"])
