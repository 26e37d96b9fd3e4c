"""Merged states of a run: made from saved states of a main path once it has reached the end of a version.

`main/merged/v3` is a checkpoint with weights only, whose manifest names every state that it averages. It can be made
again from them, bit for bit, and nothing is trained from it.
"""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path

from lrps.base.errors import CheckpointError, NonFiniteLoss
from lrps.base.locks import path_lock
from lrps.engine.averages.merge import NonFiniteStateError, write_mean
from lrps.engine.checkpointing import verify_together
from lrps.engine.ranks import ask_rank_zero, failing_together, gather, rank, world_size
from lrps.ledger.confirmed import NON_FINITE_EVALUATION
from lrps.ledger.writer import book_event
from lrps.paths.graph import Release
from lrps.store.abandoned import averages_abandoned
from lrps.store.checkpoints import (
    MERGED,
    Checkpoint,
    begin,
    fault,
    find,
    leftovers,
    open_checkpoint,
    publish,
    remove,
    write_small,
)
from lrps.store.fragments.index import INDEX
from lrps.store.identity import AVERAGE_KEY, read_path
from lrps.store.layout import RunLayout
from lrps.store.segments import FileSegment, merged_entries


def ensure_merged(run: RunLayout, release: Release) -> Checkpoint:
    """Return the merged state of a release, which is made if there is no intact one of the same states. Collective.

    Every rank writes its share of the files; without a process group there is one. An interrupted merge leaves nothing
    that counts. Raises CheckpointError on all ranks if a state of the window is missing or damaged, NonFiniteLoss if
    the weights of one are not finite: the path that saved it is broken.
    """
    layout = run.path(release.path)
    with ExitStack() as stack:

        def lock_and_look() -> Checkpoint | None:
            stack.enter_context(path_lock(layout.merged, "merged"))
            for leftover in leftovers(layout.merged):
                remove(leftover)
            return _existing(run, release)

        there = ask_rank_zero(lock_and_look, Checkpoint | None)
        return there if there is not None else _make(run, release)


def _existing(run: RunLayout, release: Release) -> Checkpoint | None:
    """Return the merged state of a release if it is intact and averages the states that the path has now."""
    layout = run.path(release.path)
    try:
        found = open_checkpoint(layout.merged / release.version)
    except CheckpointError:
        return None
    try:
        current = [(step, find(layout, step).digest) for step in release.states]
    except CheckpointError:
        # The states are away. What was made of them stays released, unless a rewind has abandoned them.
        path = read_path(layout.path_json)
        if path is not None and averages_abandoned(found, path.amendments):
            return None
        current = list(found.merged)
    return found if list(found.merged) == current and fault(found) is None else None


def _make(run: RunLayout, release: Release) -> Checkpoint:
    began = time.monotonic()
    states = ask_rank_zero(lambda: _states(run, release), list[Checkpoint])
    newest = states[-1]
    folder = run.path(release.path).merged
    temporary = ask_rank_zero(lambda: begin(folder, release.step, release.version), Path)
    try:
        for state in states:
            verify_together(state)
        try:
            with failing_together():
                index, mine = write_mean([state.directory for state in states], temporary, rank(), world_size())
        except NonFiniteStateError as error:
            what = f"{release.version}, a merge of states of {release.path}, is not made: {error}"
            raise NonFiniteLoss(what, at=release.step, cause=NON_FINITE_EVALUATION) from None
        segments = [segment for share in gather(mine, list[FileSegment]) for segment in share]
        lineage = [[state.step, state.digest] for state in states]
        identity = {**newest.identity, "version": release.version, MERGED: lineage}
        identity.pop(AVERAGE_KEY, None)  # The moving average is no part of a merged state.

        def finish() -> Checkpoint:
            files = merged_entries(segments) | {INDEX: write_small(temporary / INDEX, index.text())}
            # Booked first: a merge whose process is killed in between is made, and paid for, again.
            size, seconds = sum(entry["bytes"] for entry in files.values()), time.monotonic() - began
            facts = {"path": release.path, "version": release.version, MERGED: lineage, "bytes": size}
            book_event(run.ledger, "merge", release.step, seconds, **facts)
            return publish(temporary, release.step, files, identity)

        return ask_rank_zero(finish, Checkpoint)
    finally:
        if rank() == 0:
            shutil.rmtree(temporary, ignore_errors=True)


def _states(run: RunLayout, release: Release) -> list[Checkpoint]:
    """Return the states that a release averages, in the order of their steps."""
    layout = run.path(release.path)
    states, missing = list[Checkpoint](), list[int]()
    for step in release.states:
        try:
            states.append(find(layout, step))
        except CheckpointError:
            missing.append(step)
    if missing:
        raise CheckpointError(
            f"{release.version} is a merge of the states of {release.path} at steps "
            f"{', '.join(map(str, release.states))}, and there is no complete one of "
            f"{', '.join(map(str, missing))}: if the path had passed them before the config asked for the merge, set "
            f"release_per_version: {{{release.version}: main}} (or ema), or `lrps export CONFIG {release.path} --merge "
            f"--step {release.step}` for a merge of what was saved; else restore them from a copy (`lrps pull`)"
        )
    return states
