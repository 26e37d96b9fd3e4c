"""The initial state of paths without a parent: weights drawn from the seed, a Hugging Face model, or a checkpoint.

The checkpoint of `model.initial_state` need not belong to a run of this plan. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrps.base.errors import CheckpointError
from lrps.base.files import located
from lrps.config.models import ModelConfig
from lrps.store.checkpoints import MANIFEST, Checkpoint, open_checkpoint
from lrps.store.identity import weights_digest


def initial_checkpoint(model: ModelConfig) -> Checkpoint | None:
    """Return the checkpoint that `model.initial_state` names; None without the key.

    Reads its manifest only. Raises CheckpointError if there is no complete checkpoint.
    """
    directory = model.initial_state
    if directory is None:
        return None
    if not (directory / MANIFEST).is_file():
        inside = ", ".join(sorted(found.name for found in directory.glob("step-*")))
        hint = f"did you mean one of its folders: {inside}?" if inside else _how_to_fix(directory)
        raise CheckpointError(f"model.initial_state: {located(directory)} is no checkpoint; {hint}")
    try:
        found = open_checkpoint(directory)
    except CheckpointError as error:
        raise CheckpointError(f"model.initial_state: {error}") from None
    if found.merged:
        raise CheckpointError(
            f"model.initial_state: {located(directory)} is a merge of the states of steps "
            f"{', '.join(str(step) for step, _ in found.merged)}: it has weights only, without Adam's moments, and no "
            "training continues from it; give one of these states, or export it and give the model as model.checkpoint"
        )
    return found


def _how_to_fix(directory: Path) -> str:
    if (directory / "zero").is_dir() or (directory / "latest_universal").exists():
        return (
            "it is in DeepSpeed's universal format: convert it with `lrps convert from-universal` and give the result"
        )
    return "give one that `lrps convert from-universal` wrote, or one of a run: .../branch_points/step-00000480"


def initial_weights(model: ModelConfig) -> str | None:
    """Return the digest of the initial state, which does not depend on its location; None if the seed defines it.

    Raises CheckpointError as `initial_checkpoint` does.
    """
    if (state := initial_checkpoint(model)) is not None:
        return str(state.manifest["digest"])
    return None if model.checkpoint is None else weights_digest(model.checkpoint)


def with_initial_weights(identity: Mapping[str, Any], model: ModelConfig) -> dict[str, Any]:
    """Return the identity of a path with the digest of the initial state, and for a checkpoint with its own identity.

    So a run that is copied without the initial state still records where it came from.
    """
    full = {**identity, "training": {**identity["training"], "initial_weights": initial_weights(model)}}
    if (state := initial_checkpoint(model)) is not None:
        full["initial_state"] = {"step": state.step, **state.identity}
    return full
