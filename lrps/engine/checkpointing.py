"""From a running engine to a published checkpoint and back: all ranks together, or none.

The meeting of lrps.store.checkpoints (files, no torch) and lrps.engine.fragments (tensors, no manifests). Must not
import deepspeed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrps.engine.ranks import ask_rank_zero, failing_together, gather, rank, world_size
from lrps.errors import CheckpointError
from lrps.store import checkpoints
from lrps.store.checkpoints import Checkpoint
from lrps.store.files import atomic_write_json
from lrps.store.layout import PathLayout

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine

STATE = "state.json"


def save_checkpoint(engine: Engine, path_layout: PathLayout, step: int, identity: Mapping[str, Any]) -> Checkpoint:
    """Save the engine's state as the checkpoint of `step`. Collective; returns once it is durable.

    identity: whatever names the state (plan, path, tokens, data positions); the engine's own facts are added. It is
    the content of state.json and of the manifest. CheckpointError on all ranks if any of them cannot write; then
    there is no such checkpoint, and earlier ones are as they were.
    """
    facts = {**identity, **engine.facts, "step": step}
    temporary = ask_rank_zero(lambda: checkpoints.begin(path_layout.checkpoints, step))
    try:
        with failing_together():
            sealed = _write(engine, temporary, facts)
        files = {name: entry for share in gather(sealed) for name, entry in share.items()}
        return ask_rank_zero(lambda: checkpoints.publish(temporary, step, files, facts))
    except BaseException:
        if rank() == 0:  # A full disk needs the room of what could not be finished.
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write(engine: Engine, temporary: Path, facts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Write this rank's files, durably: name -> {"bytes", "sha256"}."""
    if not temporary.is_dir():
        raise CheckpointError(f"{temporary} is not visible here: the run directory must be shared by all hosts")
    written = engine.write_fragments(temporary)
    if rank() == 0:
        try:
            atomic_write_json(temporary / STATE, facts)
        except OSError as error:
            raise CheckpointError(f"cannot write {temporary / STATE}: {error}; free disk space and rerun") from error
        written.append(temporary / STATE)
    return {path.name: checkpoints.seal(path) for path in written}


def load_checkpoint(engine: Engine, checkpoint: Checkpoint, optimizer: str = "carry", verify: bool = True) -> None:
    """Set the engine's state from a checkpoint of any topology. Collective; CheckpointError on all ranks.

    optimizer: `carry`, or `reset` for fresh moments and Adam step 0. verify: compare SHA-256 first, each rank its
    share of the files; leave it out only where `newest_intact` has just read them.
    """
    if verify:
        with failing_together():
            checkpoints.verify(checkpoint, sorted(checkpoint.manifest["files"])[rank() :: world_size()])
    engine.read_fragments(checkpoint.directory, optimizer)
