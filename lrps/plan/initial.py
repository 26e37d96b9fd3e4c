"""What the paths without a parent start from: weights drawn from the seed, a Hugging Face model, or a whole state.

Floor 1: imports no torch. The state of `model.initial_state` is a checkpoint of its own, in no run of this plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrps.base.errors import CheckpointError
from lrps.config.models import ModelConfig
from lrps.store.checkpoints import MANIFEST, Checkpoint, open_checkpoint
from lrps.store.identity import weights_digest


def initial_checkpoint(model: ModelConfig) -> Checkpoint | None:
    """The state that `model.initial_state` names; None without the key.

    CheckpointError if no whole checkpoint lies there. Reads its manifest only.
    """
    directory = model.initial_state
    if directory is None:
        return None
    if not (directory / MANIFEST).is_file():
        lies_there = ", ".join(sorted(found.name for found in directory.glob("step-*")))
        hint = f"did you mean what lies in it: {lies_there}?" if lies_there else _way_out(directory)
        raise CheckpointError(f"model.initial_state: {directory} is no checkpoint; {hint}")
    try:
        return open_checkpoint(directory)
    except CheckpointError as error:
        raise CheckpointError(f"model.initial_state: {error}") from None


def _way_out(directory: Path) -> str:
    if (directory / "zero").is_dir() or (directory / "latest_universal").exists():
        return "it is in DeepSpeed's universal format: give what `lrps convert from-universal` makes of it"
    return "give one that `lrps convert from-universal` wrote, or one of a run: .../branch_points/step-00000480"


def initial_weights(model: ModelConfig) -> str | None:
    """Digest of what the paths start from, wherever it lies; None if the seed says it all. Errors as above."""
    if (state := initial_checkpoint(model)) is not None:
        return str(state.manifest["digest"])
    return None if model.checkpoint is None else weights_digest(model.checkpoint)


def with_initial_weights(identity: Mapping[str, Any], model: ModelConfig) -> dict[str, Any]:
    """A path's identity with the digest, and for a state with what it says of itself: a copied run still knows."""
    full = {**identity, "training": {**identity["training"], "initial_weights": initial_weights(model)}}
    if (state := initial_checkpoint(model)) is not None:
        full["initial_state"] = {"step": state.step, **state.identity}
    return full
