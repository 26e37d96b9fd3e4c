"""From a running engine to a published checkpoint and back: all ranks together, or none.

The meeting of lrps.store.checkpoints (files, no torch) and lrps.engine.fragments (tensors, no manifests). Must not
import deepspeed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrps.base.errors import CheckpointError
from lrps.base.files import atomic_write_json
from lrps.engine.fragments import Fragments
from lrps.engine.ranks import ask_rank_zero, failing_together, gather, rank, world_size
from lrps.engine.snapshot import Snapshot
from lrps.store import checkpoints
from lrps.store.checkpoints import Checkpoint
from lrps.store.layout import PathLayout

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine

STATE = "state.json"
_Files = dict[str, dict[str, Any]]  # name -> {"bytes", "sha256"}


@dataclass(frozen=True)
class _Draft:
    """A checkpoint that is being written."""

    temporary: Path
    step: int
    facts: Mapping[str, Any]


def save_checkpoint(engine: Engine, path_layout: PathLayout, step: int, identity: Mapping[str, Any]) -> Checkpoint:
    """Save the engine's state as the checkpoint of `step`. Collective; returns once it is durable.

    identity: whatever names the state (plan, path, tokens, data positions); the engine's own facts are added. It is
    the content of state.json and of the manifest. CheckpointError on all ranks if any of them cannot write; then
    there is no such checkpoint, and earlier ones are as they were.
    """
    draft = _begin(engine, path_layout, step, identity)
    return _publish(draft, lambda: _write(draft, engine.own_fragments()))


class Saver:
    """Saves an engine's state while it trains on: one save at a time.

    `begin` copies the state. A thread writes the copy, makes it durable and hashes it, and says nothing to other ranks:
    collectives of two threads would meet in another order on each rank. `finish` publishes, on all ranks at the same
    step. The files are those that `save_checkpoint` would have written at the step of `begin`.
    """

    def __init__(self, engine: Engine, path_layout: PathLayout) -> None:
        self._engine, self._layout = engine, path_layout
        self._snapshot: Future[Snapshot] | None = None
        self._writer = ThreadPoolExecutor(1, "checkpoint-writer")
        self._draft: _Draft | None = None
        self._sealed: Future[_Files] = Future()

    @property
    def sealed(self) -> bool:
        """True if a save is in flight and this rank's part is done, well or badly. Not collective.

        Once that is so on all ranks, `finish` waits for nobody.
        """
        return self._draft is not None and self._sealed.done()

    def prepare(self) -> None:
        """Let the thread make room for copies, so that not even the first save waits for it. Not collective."""
        if self._snapshot is None:
            self._snapshot = self._writer.submit(Snapshot, self._engine.own_fragments())

    def begin(self, step: int, identity: Mapping[str, Any]) -> None:
        """Begin to save the state as it is now; see `save_checkpoint`. Collective; the one before must be finished."""
        if self._draft is not None:
            raise RuntimeError(f"the save of step {self._draft.step} is not finished")
        self._draft = draft = _begin(self._engine, self._layout, step, identity)
        with failing_together():
            self.prepare()
            assert self._snapshot is not None
            copy = self._snapshot.result().take(self._engine.own_fragments())
        self._sealed = self._writer.submit(_write, draft, copy)

    def finish(self) -> Checkpoint | None:
        """Publish the save in flight, waiting for it where need be; None if there is none. Collective.

        CheckpointError on all ranks if any of them could not write its part, as `save_checkpoint` has it.
        """
        if self._draft is None:
            return None
        draft, self._draft = self._draft, None
        return _publish(draft, self._sealed.result)

    def queue(self, work: Callable[[], Any]) -> Future[Any]:
        """Let this rank's thread do some other work on files, before it writes the next save. Not collective."""
        return self._writer.submit(work)

    def close(self) -> None:
        """Wait for the thread and drop what was not published. Not collective."""
        self._writer.shutdown()
        if self._draft is not None:
            _discard(self._draft)
            self._draft = None


def _begin(engine: Engine, path_layout: PathLayout, step: int, identity: Mapping[str, Any]) -> _Draft:
    """Collective."""
    facts = {**identity, **engine.facts, "step": step}
    return _Draft(ask_rank_zero(lambda: checkpoints.begin(path_layout.checkpoints, step)), step, facts)


def _write(draft: _Draft, fragments: Fragments) -> _Files:
    """Write this rank's files, durably. Not collective."""
    if not draft.temporary.is_dir():
        raise CheckpointError(f"{draft.temporary} is not visible here: the run directory must be shared by all hosts")
    written = fragments.write(draft.temporary)
    if rank() == 0:
        state = draft.temporary / STATE
        try:
            atomic_write_json(state, draft.facts)
        except OSError as error:
            raise CheckpointError(f"cannot write {state}: {error}; free disk space and rerun") from error
        written.append(state)
    return {path.name: checkpoints.seal(path) for path in written}


def _publish(draft: _Draft, sealed: Callable[[], _Files]) -> Checkpoint:
    """Publish what every rank has sealed, or nothing. Collective."""
    try:
        with failing_together():
            mine = sealed()
        files = {name: entry for share in gather(mine) for name, entry in share.items()}
        return ask_rank_zero(lambda: checkpoints.publish(draft.temporary, draft.step, files, draft.facts))
    except BaseException:
        _discard(draft)  # A full disk needs the room of what could not be finished.
        raise


def _discard(draft: _Draft) -> None:
    if rank() == 0:
        shutil.rmtree(draft.temporary, ignore_errors=True)


def load_checkpoint(engine: Engine, checkpoint: Checkpoint, optimizer: str = "carry", verify: bool = True) -> None:
    """Set the engine's state from a checkpoint of any topology. Collective; CheckpointError on all ranks.

    optimizer: `carry`, or `reset` for fresh moments and Adam step 0. verify: compare SHA-256 first, each rank its
    share of the files; leave it out only where `newest_intact` has just read them.
    """
    if verify:
        with failing_together():
            checkpoints.verify_checkpoint(checkpoint, sorted(checkpoint.manifest["files"])[rank() :: world_size()])
    engine.read_fragments(checkpoint.directory, optimizer)
