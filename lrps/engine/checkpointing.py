"""Saving and loading the state of a running engine as published checkpoints: on all ranks, or not at all.

Joins lrps.store.checkpoints (files, no torch) and lrps.engine.fragments (tensors, no manifests). Must not import
deepspeed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrps.base.errors import CheckpointError, DamagedCheckpointError, UnreadableCheckpointError
from lrps.base.files import json_text
from lrps.engine.fragments import Fragments
from lrps.engine.ranks import ask_rank_zero, failing_together, gather, rank, world_size
from lrps.engine.snapshot import Snapshot, StateCopy
from lrps.engine.state_files.agreement import RanksPerFile, agree_on_index
from lrps.engine.state_files.reading import SavedState
from lrps.paths.optimizer_states import OPTIMIZER
from lrps.store import checkpoints
from lrps.store.checkpoints import Checkpoint
from lrps.store.fragments.index import INDEX, FragmentIndex
from lrps.store.fragments.opening import IndexMessage, index_of
from lrps.store.layout import PathLayout
from lrps.store.segments import Entry, FileSegment, dealt, merged_entries

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine

STATE = "state.json"


@dataclass(frozen=True)
class _Draft:
    """A checkpoint that is being written."""

    temporary: Path
    """Directory that the files are written into."""
    step: int
    """Lineage step of the state."""
    facts: Mapping[str, Any]
    """Content of state.json, and the identity in the manifest."""
    index: FragmentIndex
    """Index of the values that the ranks write."""


@dataclass(frozen=True)
class _Written:
    """The files that one rank has written for a checkpoint, with their sizes and hashes."""

    segment: FileSegment
    """Its values."""
    others: Mapping[str, Entry]
    """Entries of the files that rank 0 writes beside its values."""


def save_checkpoint(
    engine: Engine,
    path_layout: PathLayout,
    step: int,
    identity: Mapping[str, Any],
    ranks_per_file: RanksPerFile = "host",
) -> Checkpoint:
    """Save the engine's state as the checkpoint of `step`, and return once it is durable. Collective.

    identity: whatever names the state (plan, path, tokens, data positions); the engine's own facts are added. It is
    the content of state.json and of the manifest. ranks_per_file: as in the config's `checkpoint`. Raises
    CheckpointError on all ranks if any of them cannot write; then there is no such checkpoint, and earlier ones are
    unchanged.
    """
    draft, own = _begin(engine, path_layout, step, identity, ranks_per_file)
    return _publish(draft, lambda: _write(draft, own))


class Saver:
    """Saves an engine's state while training continues: one save at a time.

    `begin` copies the state. A thread writes the copy, makes it durable and hashes it, without communicating with
    other ranks: the collectives of two threads would run in a different order on each rank. `finish` publishes, on all
    ranks at the same step. The files equal those that `save_checkpoint` would have written at the step of `begin`.
    """

    def __init__(self, engine: Engine, path_layout: PathLayout, ranks_per_file: RanksPerFile = "host") -> None:
        """ranks_per_file: as in the config's `checkpoint`."""
        self._engine, self._layout, self._ranks_per_file = engine, path_layout, ranks_per_file
        self._snapshot: Future[Snapshot] | None = None
        self._writer = ThreadPoolExecutor(1, "checkpoint-writer")
        self._draft: _Draft | None = None
        self._written: Future[_Written] = Future()

    @property
    def written(self) -> bool:
        """True if a save is in flight and this rank's files are written, or have failed to be. Not collective.

        Once it is true on all ranks, `finish` does not wait for any of them.
        """
        return self._draft is not None and self._written.done()

    def prepare(self) -> None:
        """Let the thread allocate the snapshot, so that not even the first save waits for it. Not collective."""
        if self._snapshot is None:
            live = self._engine.own_fragments()
            self._snapshot = self._writer.submit(Snapshot, live, _only_updates_change(self._engine))

    def begin(self, step: int, identity: Mapping[str, Any]) -> None:
        """Copy the current state and begin to write it; see `save_checkpoint`. Collective.

        Raises RuntimeError if the previous save is not finished.
        """
        if self._draft is not None:
            raise RuntimeError(f"the save of step {self._draft.step} is not finished")
        draft, own = _begin(self._engine, self._layout, step, identity, self._ranks_per_file)
        self._draft = draft
        with failing_together():
            self.prepare()
            assert self._snapshot is not None
            copy = self._snapshot.result().take(own)
        self._engine.hold_update(copy.hold_update)
        self._written = self._writer.submit(_write_copy, draft, copy)

    def finish(self) -> Checkpoint | None:
        """Publish the save in flight, after waiting for it if necessary; None if there is none. Collective.

        Raises CheckpointError on all ranks if any of them could not write its files, as `save_checkpoint` does.
        """
        if self._draft is None:
            return None
        draft, self._draft = self._draft, None
        return _publish(draft, self._written.result)

    def queue(self, work: Callable[[], Any]) -> Future[Any]:
        """Let this rank's thread do other work on files before it writes the next save. Not collective."""
        return self._writer.submit(work)

    def close(self) -> None:
        """Wait for the thread and delete a save that was not published. Not collective."""
        self._writer.shutdown()
        if self._draft is not None:
            _discard(self._draft)
            self._draft = None


def _begin(
    engine: Engine, path_layout: PathLayout, step: int, identity: Mapping[str, Any], ranks_per_file: RanksPerFile
) -> tuple[_Draft, Fragments]:
    """Create the temporary directory of a checkpoint; return the draft, and this rank's part of the state. Collective.

    The part is live memory, which the next step changes.
    """
    with failing_together():
        own = engine.own_fragments()
    index = agree_on_index(own, ranks_per_file)
    facts = {**identity, **engine.facts, "step": step}
    temporary = ask_rank_zero(lambda: checkpoints.begin(path_layout.checkpoints, step), Path)
    return _Draft(temporary, step, facts, index), own


def _only_updates_change(engine: Engine) -> bool:
    """Return whether nothing but updates and loads changes the state: so with AdamW, and without an average.

    Muon changes its momentum in the backward pass, and an evaluation of averages exchanges them with the weights.
    """
    return OPTIMIZER not in engine.facts and engine.average.rule is None


def _write(draft: _Draft, fragments: Fragments) -> _Written:
    """Write this rank's part durably, and return its sizes and hashes. Not collective."""
    if not draft.temporary.is_dir():
        raise CheckpointError(f"{draft.temporary} is not visible here: the run directory must be shared by all hosts")
    segment = fragments.write(draft.temporary, draft.index, rank())
    others = {INDEX: draft.index.text(), STATE: json_text(draft.facts)} if rank() == 0 else {}
    small = {name: checkpoints.write_small(draft.temporary / name, text) for name, text in others.items()}
    return _Written(segment, small)


def _write_copy(draft: _Draft, copy: StateCopy) -> _Written:
    """Write this rank's part from a copy, once that is complete. Not collective."""
    copy.wait()
    return _write(draft, copy.fragments)


def _publish(draft: _Draft, written: Callable[[], _Written]) -> Checkpoint:
    """Publish the files of all ranks, or none. written: returns what this rank has written. Collective."""
    try:
        with failing_together():
            mine = written()
        everyone = gather(mine, _Written)
        files = merged_entries(each.segment for each in everyone) | dict(everyone[0].others)
        publish = partial(checkpoints.publish, draft.temporary, draft.step, files, draft.facts)
        return ask_rank_zero(publish, Checkpoint)
    except BaseException:
        _discard(draft)  # A full disk needs the space of the unfinished files.
        raise


def _discard(draft: _Draft) -> None:
    """Remove the files of a draft. Every rank does it, since another one may still have been writing a moment ago."""
    shutil.rmtree(draft.temporary, ignore_errors=True)


def load_checkpoint(engine: Engine, checkpoint: Checkpoint, optimizer: str = "carry") -> None:
    """Set the engine's state from a checkpoint of any topology, and compare SHA-256 in the same read. Collective.

    optimizer: `carry`, or `reset` for fresh moments and Adam step 0. Raises DamagedCheckpointError, the same on all
    ranks, if a file differs from the manifest; then the engine may have parts of the state, and another one must be
    loaded. Raises CheckpointError on all ranks if a host cannot read a file, and, before anything is changed, if the
    state is of another model.
    """
    try:
        index = ask_rank_zero(lambda: IndexMessage.of(index_of(checkpoint)), IndexMessage, alike=True).index()
        saved = SavedState(checkpoint.directory, index)
        share = [each for each in _own_share(checkpoint) if each.file != INDEX]  # Rank 0 has compared the index.
        digests = engine.read_fragments(saved, optimizer, share)
        with failing_together(alike=True), _naming_rank():
            checkpoints.check_segments(checkpoint, digests)
    except DamagedCheckpointError:
        raise
    except CheckpointError:
        verify_together(checkpoint)  # Damaged bytes may look like another model, or like a state with gaps.
        raise


def verify_together(checkpoint: Checkpoint) -> None:
    """Compare the SHA-256 of every segment, each rank its share. Collective.

    Raises DamagedCheckpointError, the same on all ranks, if a SHA-256 differs, or if rank 0 sees a wrong manifest or
    size. Raises UnreadableCheckpointError, the same on all ranks, if one of them cannot read what rank 0 sees; the
    checkpoint may be intact then. It names the rank and its host.
    """
    with failing_together(alike=True), _naming_rank():
        if rank() == 0:
            _check_complete(checkpoint)
    with failing_together(alike=True), _naming_rank():
        checkpoints.verify_segments(checkpoint, _own_share(checkpoint))


def _check_complete(checkpoint: Checkpoint) -> None:
    """Raise DamagedCheckpointError if the manifest or a size is wrong."""
    try:
        checkpoints.open_checkpoint(checkpoint.directory)
    except UnreadableCheckpointError:
        raise
    except CheckpointError as error:
        raise DamagedCheckpointError(str(error)) from error


@contextmanager
def _naming_rank() -> Iterator[None]:
    """Add the number of this rank to the error of a file that its host cannot read. Not collective."""
    try:
        yield
    except UnreadableCheckpointError as error:
        raise UnreadableCheckpointError(f"rank {rank()}: {error}") from error


def _own_share(checkpoint: Checkpoint) -> list[FileSegment]:
    return dealt(checkpoint.segments, rank(), world_size())
