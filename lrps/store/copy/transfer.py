"""Copies a run to another place and back. What was copied before an interruption is kept; the same command goes on.

Written in the order in which it is needed: what a path is, its ledger, then the states that the ledger speaks of. A
state is there once its last file is. Floor 1: imports no torch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lrps.base.errors import CheckpointError, LineageError, LrpsError
from lrps.base.files import atomic_write_bytes, fsync_directory, fsync_file, sha256_file
from lrps.base.locks import is_locked, path_lock
from lrps.base.progress import byte_progress
from lrps.store import checkpoints
from lrps.store.copy.inventory import PENDING, Inventory, Sealed, take_inventory
from lrps.store.copy.mirror import CopyFile, CopyGroup, compare_inventories
from lrps.store.copy.places import Advance, Directory, RunStore, explained, link_or_copy, open_run_store
from lrps.store.copy.selection import of_paths, snapshot_at_last_checkpoint

TRANSFERS = 8
"""Files that are on their way at once."""


@dataclass(frozen=True)
class Transfer:
    """What was copied, or would be."""

    run_dir: Path
    address: str
    groups: tuple[CopyGroup, ...]


def push_run(run_dir: Path, address: str, paths: Sequence[str] = (), *, dry_run: bool = False) -> Transfer:
    """Copy a run, or only some paths of it, to an address. Nothing is deleted there but the remains of a broken push.

    A path that is being trained is copied as it was at its newest checkpoint. LineageError if what is there
    contradicts (nothing is copied then), CheckpointError for a damaged file here, TransferError if the place cannot
    be reached or written.
    """
    place = open_run_store(address)
    here = take_inventory(_run(run_dir))
    if not here.identities:
        raise LineageError(f"{run_dir} holds no path; `lrps run` makes some, `lrps pull` brings them")
    here = of_paths(here, paths or here.identities.keys())
    for path in here.identities:
        if is_locked(run_dir / path):
            here = snapshot_at_last_checkpoint(here, path)
    groups = compare_inventories(here, take_inventory(place), replace_documents=True)
    if not dry_run:
        with _showing("push", groups) as advance, ThreadPoolExecutor(TRANSFERS) as pool:
            groups = tuple(_push(group, run_dir, place, pool, advance) for group in groups)
    return Transfer(run_dir, place.shown, groups)


def pull_run(
    run_dir: Path, address: str, choose: Callable[[Inventory, Inventory], Inventory], *, dry_run: bool = False
) -> Transfer:
    """Copy a run, or what `choose` takes of (what is there, what is here), from an address into its directory.

    Every byte is compared with the manifests before a state gets its name. LineageError if a path is being trained
    here or contradicts (nothing is copied then), CheckpointError for damaged bytes there, TransferError if the place
    cannot be read or there is no room here.
    """
    place = open_run_store(address)
    there = take_inventory(place)
    if not there.identities:
        raise LineageError(f"{place.shown} holds no run: there is no path.json one level below; `lrps push` brings one")
    chosen = choose(there, take_inventory(_run(run_dir)))
    with ExitStack() as held:
        for path in sorted(chosen.identities):
            if not dry_run:
                with explained(f"cannot write to {run_dir}"):
                    held.enter_context(path_lock(run_dir / path))
            elif is_locked(run_dir / path):
                raise LineageError(f"{run_dir / path}: is being trained; wait for it, or stop it")
        groups = compare_inventories(chosen, take_inventory(_run(run_dir)), replace_documents=False)
        if not dry_run:
            with _showing("pull", groups) as advance, ThreadPoolExecutor(TRANSFERS) as pool:
                for group in groups:
                    _pull(group, run_dir, place, pool, advance)
    return Transfer(run_dir, place.shown, groups)


def _run(run_dir: Path) -> Directory:
    return Directory(run_dir, follow_links=True)


@contextmanager
def _showing(verb: str, groups: Iterable[CopyGroup]) -> Iterator[Advance]:
    with byte_progress(Console(stderr=True)) as bar:
        task = bar.add_task(verb, total=sum(group.bytes_of("send") for group in groups))
        yield lambda done: bar.advance(task, done)


def _all(pool: ThreadPoolExecutor, action: Callable[[CopyFile], None], files: Iterable[CopyFile]) -> None:
    """Do it for all files at once. After an error nothing new is begun."""
    begun = [pool.submit(action, file) for file in files]
    try:
        for each in begun:
            each.result()
    except BaseException:
        for each in begun:
            each.cancel()
        raise


# To an address


def _push(group: CopyGroup, run_dir: Path, place: RunStore, pool: ThreadPoolExecutor, advance: Advance) -> CopyGroup:
    """The group as it was copied: a trainer may prune a periodic checkpoint meanwhile."""
    if group.action == "skip":
        return group

    def send(file: CopyFile) -> None:
        if file.how == "copy" and file.origin is not None:
            place.copy(file.origin, file.name)
        elif file.content is not None:
            place.write(file.name, file.content)
            advance(file.size)
        else:
            _check(run_dir / file.name, file, f"{run_dir / file.name} is damaged")
            place.put(run_dir / file.name, file.name, advance)

    changed = [file for file in group.files if file.how != "keep"]
    if (state := group.sealed) is None:
        _all(pool, send, changed)
        return group
    for name in group.stale:
        place.remove(name)
    place.write(f"{group.name}/{PENDING}", state.listing)
    try:
        _all(pool, send, changed)
    except LrpsError:
        if state.kind != "checkpoints" or (run_dir / group.name / state.last).exists():
            raise
        return CopyGroup(group.name, (), "left out: it was pruned meanwhile")
    place.write(f"{group.name}/{state.last}", state.listing)
    place.remove(f"{group.name}/{PENDING}")
    return group


def _check(path: Path, file: CopyFile, otherwise: str) -> None:
    with explained(f"cannot read {path}"):
        intact = path.stat().st_size == file.size and sha256_file(path) == file.sha256
    if not intact:
        raise CheckpointError(f"{otherwise}: its SHA-256 is not the one that was written down; use another copy of it")


# From an address


def _pull(group: CopyGroup, run_dir: Path, place: RunStore, pool: ThreadPoolExecutor, advance: Advance) -> None:
    if group.action == "skip":
        return
    if group.sealed is not None:
        _pull_state(group, group.sealed, run_dir, place, pool, advance)
        return
    for file in group.files:
        if file.how == "send" and file.content is not None:
            with explained(f"cannot write {run_dir / file.name}"):
                (run_dir / file.name).parent.mkdir(parents=True, exist_ok=True)
                atomic_write_bytes(run_dir / file.name, file.content)
            advance(file.size)


def _pull_state(
    group: CopyGroup, state: Sealed, run_dir: Path, place: RunStore, pool: ThreadPoolExecutor, advance: Advance
) -> None:
    """Fill a temporary directory, which may hold a part from before, and give it its name as the last act."""
    final = run_dir / group.name
    temporary = final.with_name(f".tmp-{final.name}")
    with explained(f"cannot write {final}"):
        temporary.mkdir(parents=True, exist_ok=True)
        for path in temporary.iterdir():
            if path.name not in state.files:
                path.unlink()

    def fetch(file: CopyFile) -> None:
        target = temporary / Path(file.name).name
        origins = [run_dir / each for each in (file.origin, file.name if file.how == "keep" else None) if each]
        if _is(target, file):
            advance(file.size)
        elif not any(_linked(origin, target, file) for origin in origins):
            with explained(f"cannot write {target}"):
                target.unlink(missing_ok=True)
            place.get(file.name, target, advance)
            _check(target, file, f"{file.name} at {place.shown} is damaged")
        with explained(f"cannot write {target}"):
            fsync_file(target)

    _all(pool, fetch, group.files)
    with explained(f"cannot write {final}"):
        atomic_write_bytes(temporary / state.last, state.listing)
        if state.kind == "branch_points":
            for path in temporary.iterdir():
                path.chmod(0o444)
        if state.kind != "model" and final.exists():
            checkpoints.remove(final)
        elif final.exists():
            shutil.rmtree(final)
        os.rename(temporary, final)
        fsync_directory(final.parent)


def _is(path: Path, file: CopyFile) -> bool:
    with suppress(OSError):
        return path.stat().st_size == file.size and sha256_file(path) == file.sha256
    return False


def _linked(origin: Path, target: Path, file: CopyFile) -> bool:
    """Give the bytes that lie in another checkpoint here a second name; False if they are not intact."""
    if not _is(origin, file):
        return False
    with explained(f"cannot write {target}"):
        target.unlink(missing_ok=True)
        link_or_copy(origin, target)
    return True
