"""Pruning of a run: finding the checkpoints that no path, fork or release needs, and removing them.

Pins are never removed, nor anything of a path that is being trained or is not in the plan. Imports no torch.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lrps.base.errors import CheckpointError, LineageError
from lrps.base.locks import is_locked, path_lock
from lrps.ledger.reader import MERGE
from lrps.paths.amendments import generation
from lrps.paths.graph import Fork, TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.recovery import path_states
from lrps.plan.status import check_run_dir
from lrps.store.checkpoints import (
    Checkpoint,
    complete_checkpoints,
    damage,
    damaged_ones,
    directory_name,
    doubtful_ones,
    incomplete_checkpoints,
    leftovers,
    open_checkpoint,
    remove,
)
from lrps.store.identity import read_path
from lrps.store.kept_checkpoints import young
from lrps.store.retention import retention, rewindable

UNREFERRED_PIN = "pinned; no path of this plan needs it"


@dataclass(frozen=True)
class PruneCandidate:
    """A directory of a run with checkpoint files: one checkpoint, or a whole path that is left alone."""

    path: str
    directory: Path
    step: int | None
    """Step of the checkpoint; None for a leftover or a whole path."""
    goes: bool
    """True if it is removed."""
    reason: str
    """Reason why it is kept or removed."""
    bytes: int
    """Size of its files in bytes, including those shared with a pin."""
    freed_bytes: int
    """Bytes that removing it alone frees: a file with another hard link frees nothing."""


@dataclass(frozen=True)
class Pruning:
    """The result of pruning a run or a path."""

    found: tuple[PruneCandidate, ...]
    freed_bytes: int
    """Bytes that removing all candidates that go frees together."""


def prune_run(plan: Plan, *, dry_run: bool, damaged: bool = False) -> Pruning:
    """Remove the checkpoints that nothing needs, path by path, each under its lock; with dry_run, only report them.

    damaged: read every byte of every checkpoint, and also remove damaged ones (if an intact one of the path is kept),
    those that were set aside, and leftovers. Pins and checkpoints that are referred to are reported and kept. Raises
    LineageError if a path.json cannot be read, since the parent of the path is then unknown.
    """
    needs = references(plan, _stored_paths(plan))
    parts = [_prune_path(plan, name, needs.get(name, {}), dry_run, damaged) for name in _names(plan)]
    return Pruning(tuple(each for part in parts for each in part.found), sum(part.freed_bytes for part in parts))


def references(plan: Plan, stored: Mapping[str, TrainingPath]) -> dict[str, dict[int, str]]:
    """Return path -> step -> what needs that state: forks of planned and stored paths, releases, merges, probes."""
    needs: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    known = {**stored, **plan.graph.by_name}
    for name, path in (*plan.graph.by_name.items(), *stored.items()):
        if path.parent is not None and _in_force(path.parent, known):
            needs[path.parent.path][path.parent.step].append(f"fork of {name}")
    for release in plan.graph.releases:
        for step in release.states:
            what = "merge of" if release.form == MERGE else "release"
            needs[release.path][step].append(f"{what} {release.version}")
    for name, probes in plan.graph.probed.items():
        needs[name][plan.graph.by_name[name].stop] += (f"result of probe {probe}" for probe in probes)
    return {
        name: {step: ", ".join(dict.fromkeys(reasons)) for step, reasons in steps.items()}
        for name, steps in needs.items()
    }


def _in_force(fork: Fork, known: Mapping[str, TrainingPath]) -> bool:
    """Return whether the state that a path forked from is still one of its parent: no rewind has ended its history."""
    parent = known.get(fork.path)
    return parent is None or generation(parent.amendments, fork.step) == fork.generation


def _stored_paths(plan: Plan) -> dict[str, TrainingPath]:
    """Return every path in the run directory, of this plan or another."""
    stored = {}
    for file in sorted(plan.config.run_dir.glob("*/path.json")):
        path = read_path(file)
        if path is None:
            raise LineageError(
                f"{file} cannot be read, so what it forks from is unknown and nothing was removed; restore it from a "
                "copy, or move its directory out of the run"
            )
        stored[file.parent.name] = path
    return stored


def _names(plan: Plan) -> list[str]:
    """Return the names of paths that have checkpoints on disk: those of the plan first, in its order."""
    kinds = ("checkpoints", "branch_points", "merged")
    there = {directory.parent.name for kind in kinds for directory in plan.config.run_dir.glob(f"*/{kind}")}
    known = [name for name in plan.graph.by_name if name in there]
    return [*known, *sorted(there.difference(known))]


def _prune_path(plan: Plan, name: str, referred: Mapping[int, str], dry_run: bool, damaged: bool) -> Pruning:
    path, directory = plan.graph.by_name.get(name), plan.layout.path(name).directory
    if path is None:
        return _alone(plan, name, "not a path of this plan: left alone")
    try:
        check_run_dir(plan, [path])
    except LineageError as error:
        return _alone(plan, name, f"{str(error).splitlines()[0].rstrip(':')}: left alone")
    try:
        with _looking(directory) if dry_run else path_lock(directory):
            found = tuple(_survey(plan, path, referred, damaged))
            going = [each.directory for each in found if each.goes]
            freed = _freed(going)
            if not dry_run:
                for each in going:
                    remove(each)
    except LineageError:
        return _alone(plan, name, "being trained now: its trainer prunes it")
    return Pruning(found, freed)


@contextmanager
def _looking(directory: Path) -> Iterator[None]:
    """Raise LineageError if another process holds the lock: a substitute for the lock that writes nothing."""
    if is_locked(directory):
        raise LineageError(f"{directory}: is being trained")
    yield


def _alone(plan: Plan, name: str, reason: str) -> Pruning:
    """Return a path that is left alone as one candidate."""
    layout = plan.layout.path(name)
    taken = _bytes((layout.checkpoints, layout.branch_points, layout.merged))
    return Pruning((PruneCandidate(name, layout.directory, None, False, reason, taken, 0),), 0)


def _survey(plan: Plan, path: TrainingPath, referred: Mapping[int, str], damaged: bool) -> Iterator[PruneCandidate]:
    """Yield the periodic checkpoints of a path, then its pins, then leftovers and damaged ones."""
    layout = plan.layout.path(path.name)
    folders = (layout.checkpoints, layout.branch_points, layout.merged)
    known = _Faults(damaged)
    stays, faults = _decide(plan, path, referred, known)
    faults |= {step: why for step, _, why in incomplete_checkpoints(layout.checkpoints)}
    for step in sorted({*stays, *faults}):
        directory = layout.checkpoints / directory_name(step)
        if step in stays:
            reason = stays[step]
            yield _found(path.name, directory, step, reason is None, reason or "nothing needs it")
        else:
            goes = damaged and bool(stays) and step not in referred
            yield _found(path.name, directory, step, goes, _fault(directory, faults[step], referred.get(step)))
    for pinned in complete_checkpoints(layout.branch_points):
        needed, why = referred.get(pinned.step), known.of(pinned)
        reason = needed or UNREFERRED_PIN if why is None else _fault(pinned.directory, why, needed or "pinned")
        yield _found(path.name, pinned.directory, pinned.step, False, reason)
    for step, directory, why in incomplete_checkpoints(layout.branch_points):
        yield _found(path.name, directory, step, False, _fault(directory, why, referred.get(step)))
    for number in range(1, len(path.amendments) + 1):
        aside = layout.abandoned(number)
        for each in (*complete_checkpoints(aside.checkpoints), *complete_checkpoints(aside.branch_points)):
            reason = f"abandoned by amendment {number}; nothing continues from it, and prune leaves it to you"
            yield _found(path.name, each.directory, each.step, False, reason)
    yield from _merged(plan, path.name, known)
    for directory in (each for folder in folders for each in leftovers(folder)):
        yield _found(path.name, directory, None, damaged, "left by an interrupted save, pin, merge or removal")
    for directory in (each for folder in folders for each in damaged_ones(folder)):
        yield _found(path.name, directory, None, damaged, "damaged; set aside when the path was resumed")
    for directory in (*doubtful_ones(layout.checkpoints), *doubtful_ones(layout.branch_points)):
        yield _found(path.name, directory, None, damaged, "doubtful; set aside when the path went back")


def _merged(plan: Plan, name: str, known: _Faults) -> Iterator[PruneCandidate]:
    """Yield the merged states of a path, which are kept as pins are."""
    folder = plan.layout.path(name).merged
    released = {each.version for each in plan.graph.releases if (each.path, each.form) == (name, MERGE)}
    for directory in sorted(each for each in folder.glob("*/") if not each.name.startswith(".")):
        needed = f"release {directory.name}" if directory.name in released else "merged; no path of this plan needs it"
        try:
            found = open_checkpoint(directory)
        except CheckpointError as error:
            yield _found(name, directory, None, False, _fault(directory, str(error), needed))
            continue
        why = known.of(found)
        yield _found(name, directory, found.step, False, needed if why is None else _fault(directory, why, needed))


class _Faults:
    """The damage of complete checkpoints; files that a checkpoint shares with a pin are read once."""

    def __init__(self, read_all: bool) -> None:
        self._read_all, self._seen = read_all, dict[tuple[tuple[int, int], ...], str | None]()

    def of(self, checkpoint: Checkpoint) -> str | None:
        """Return the damage if all checkpoints are to be read, else None."""
        return self.read(checkpoint) if self._read_all else None

    def read(self, checkpoint: Checkpoint) -> str | None:
        """Read the checkpoint and return its damage; None if it is intact.

        Raises UnreadableCheckpointError if this host cannot find out: what may be intact is not removed.
        """
        files = tuple(sorted(_inode(entry) for entry in _entries([checkpoint.directory])))
        if files not in self._seen:
            found = damage(checkpoint)
            self._seen[files] = None if found is None else str(found)
        return self._seen[files]


def _decide(
    plan: Plan, path: TrainingPath, referred: Mapping[int, str], known: _Faults
) -> tuple[dict[int, str | None], dict[int, str]]:
    """Return (step -> reason to keep its periodic checkpoint, or None; step -> damage).

    Every byte of the newest one is read before any is removed, so that an intact checkpoint is always left.
    """
    settings = plan.config.checkpoint
    there = {
        checkpoint.step: checkpoint for checkpoint in complete_checkpoints(plan.layout.path(path.name).checkpoints)
    }
    faults = {step: why for step, checkpoint in there.items() if (why := known.of(checkpoint)) is not None}
    there = {step: checkpoint for step, checkpoint in there.items() if step not in faults}
    states = path_states(path.name, plan.layout, plan.graph.children(path.name))
    keep_young, spread = young(there, settings.keep_hours), settings.keeps_for_rewind(path.kind)
    while there:
        newest = max(there)
        # A trained path needs what is referred to, and its last state to continue from when the plan grows.
        keep_last = 1 if newest >= path.stop else settings.keep_last
        others = keep_young | rewindable(there, states, spread)
        stays = retention(there, referred, keep_last, settings.keep_every_steps, others)
        if None not in stays.values() or (why := known.read(there[newest])) is None:
            return stays, faults
        faults[newest] = why
        del there[newest]
    return {}, faults


def _fault(directory: Path, why: str, referred: str | None) -> str:
    reason = why.partition(";")[0].replace(str(directory), directory.name)
    return f"{reason} ({referred})" if referred else reason


def _found(name: str, directory: Path, step: int | None, goes: bool, reason: str) -> PruneCandidate:
    return PruneCandidate(name, directory, step, goes, reason, _bytes([directory]), _freed([directory]))


def _bytes(directories: Collection[Path]) -> int:
    return sum({_inode(entry): entry.st_size for entry in _entries(directories)}.values())


def _freed(directories: Collection[Path]) -> int:
    """Return the bytes that removing these directories frees: those of files without another hard link."""
    entries = list(_entries(directories))
    names = Counter(_inode(entry) for entry in entries)
    files = {_inode(entry): entry for entry in entries}
    return sum(entry.st_size for key, entry in files.items() if entry.st_nlink <= names[key])


def _entries(directories: Collection[Path]) -> Iterator[os.stat_result]:
    files = (file for directory in directories for file in directory.rglob("*"))
    return (file.lstat() for file in files if file.is_file())


def _inode(entry: os.stat_result) -> tuple[int, int]:
    return entry.st_dev, entry.st_ino
