"""Copying of a run to another store and back. After an interruption the same command continues.

The order is: identities of paths, their ledgers, then the states that the ledgers record. A state exists once its last
file does. Must not import torch.
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
from lrps.base.files import atomic_write_bytes, fsync_directory, fsync_file, located
from lrps.base.locks import is_locked, path_lock
from lrps.base.progress import byte_progress
from lrps.store import checkpoints
from lrps.store.copy.inventory import PENDING, Inventory, StateDirectory, list_inventory
from lrps.store.copy.mirror import MOVED, CopyFile, CopyGroup, compare_inventories
from lrps.store.copy.run_store import (
    DirectoryStore,
    ReportBytes,
    RunStore,
    as_transfer_error,
    link_or_copy,
    open_run_store,
)
from lrps.store.copy.subset import select_paths, snapshot_at_last_checkpoint
from lrps.store.segments import file_digest

TRANSFERS = 8
"""Number of files that are copied in parallel."""


@dataclass(frozen=True)
class Transfer:
    """The result of a push or pull: the groups that were copied, or would be in a dry run."""

    run_dir: Path
    address: str
    groups: tuple[CopyGroup, ...]


def push_run(run_dir: Path, address: str, paths: Sequence[str] = (), *, dry_run: bool = False) -> Transfer:
    """Copy a run, or only some paths of it, to an address. Only remains of an interrupted push are deleted there.

    A path that is being trained is copied as of its newest checkpoint. Raises LineageError if the run there
    contradicts this one (nothing is copied then), CheckpointError for a damaged file here, TransferError if the store
    cannot be reached or written to.
    """
    store = open_run_store(address)
    here = list_inventory(_run(run_dir))
    if not here.identities:
        raise LineageError(f"{located(run_dir)} has no paths; make some with `lrps run`, or copy them with `lrps pull`")
    here = select_paths(here, paths or here.identities.keys())
    for path in here.identities:
        if is_locked(run_dir / path):
            here = snapshot_at_last_checkpoint(here, path)
    groups = compare_inventories(here, list_inventory(store), replace_documents=True)
    if not dry_run:
        with _showing("push", groups) as advance, ThreadPoolExecutor(TRANSFERS) as pool:
            groups = tuple(_push(group, run_dir, store, pool, advance) for group in groups)
    return Transfer(run_dir, store.label, groups)


def pull_run(
    run_dir: Path, address: str, choose: Callable[[Inventory, Inventory], Inventory], *, dry_run: bool = False
) -> Transfer:
    """Copy a run from an address into its directory.

    choose: returns the part to copy, from the inventories there and here. Every byte is compared with the manifests
    before a state gets its final name. Raises LineageError if a path is being trained here or contradicts (nothing is
    copied then), CheckpointError for damaged bytes there, TransferError if the store cannot be read or the disk here is
    full.
    """
    store = open_run_store(address)
    there = list_inventory(store)
    if not there.identities:
        raise LineageError(f"{store.label} has no run: no PATH/path.json was found; copy one there with `lrps push`")
    chosen = choose(there, list_inventory(_run(run_dir)))
    with ExitStack() as locks:
        for path in sorted(chosen.identities):
            if not dry_run:
                with as_transfer_error(f"cannot write to {run_dir}"):
                    locks.enter_context(path_lock(run_dir / path))
            elif is_locked(run_dir / path):
                raise LineageError(f"{run_dir / path}: is being trained; wait for it, or stop it")
        groups = compare_inventories(chosen, list_inventory(_run(run_dir)), replace_documents=False)
        if not dry_run:
            with _showing("pull", groups) as advance, ThreadPoolExecutor(TRANSFERS) as pool:
                for group in groups:
                    _pull(group, run_dir, store, pool, advance)
    return Transfer(run_dir, store.label, groups)


def _run(run_dir: Path) -> DirectoryStore:
    return DirectoryStore(run_dir, follow_links=True)


@contextmanager
def _showing(verb: str, groups: Iterable[CopyGroup]) -> Iterator[ReportBytes]:
    with byte_progress(Console(stderr=True)) as bar:
        task = bar.add_task(verb, total=sum(group.bytes_of("send") for group in groups))
        yield lambda done: bar.advance(task, done)


def _all(pool: ThreadPoolExecutor, action: Callable[[CopyFile], None], files: Iterable[CopyFile]) -> None:
    """Run the action for all files in parallel. After an error no further files are begun."""
    begun = [pool.submit(action, file) for file in files]
    try:
        for each in begun:
            each.result()
    except BaseException:
        for each in begun:
            each.cancel()
        raise


# To an address


def _push(
    group: CopyGroup, run_dir: Path, store: RunStore, pool: ThreadPoolExecutor, advance: ReportBytes
) -> CopyGroup:
    """Copy a group, and return it as copied: empty if training has pruned its periodic checkpoint meanwhile."""
    if group.action == "skip":
        for name in group.stale:
            store.remove(name)
        return group

    def send(file: CopyFile) -> None:
        if file.how == "copy" and file.origin is not None:
            store.copy(file.origin, file.name)
        elif file.content is not None:
            store.write(file.name, file.content)
            advance(file.size)
        else:
            _check(run_dir / file.name, file, f"{run_dir / file.name} is damaged")
            store.put(run_dir / file.name, file.name, advance)

    changed = [file for file in group.files if file.how != "keep"]
    if (state := group.directory) is None:
        _all(pool, send, changed)
        return group
    for name in group.stale:
        store.remove(name)
    store.write(f"{group.name}/{PENDING}", state.listing)
    try:
        _all(pool, send, changed)
    except LrpsError:
        if state.kind != "checkpoints" or (run_dir / group.name / state.last).exists():
            raise
        return CopyGroup(group.name, (), "left out: it was pruned meanwhile")
    store.write(f"{group.name}/{state.last}", state.listing)
    store.remove(f"{group.name}/{PENDING}")
    return group


def _check(path: Path, file: CopyFile, fault: str) -> None:
    with as_transfer_error(f"cannot read {path}"):
        intact = _has_content(path, file)
    if not intact:
        raise CheckpointError(f"{fault}: its SHA-256 is not the one in the manifest; use another copy of it")


# From an address


def _pull(group: CopyGroup, run_dir: Path, store: RunStore, pool: ThreadPoolExecutor, advance: ReportBytes) -> None:
    if group.action == "skip":
        if group.why.startswith(MOVED):
            checkpoints.remove(run_dir / group.name)
        return
    if group.directory is not None:
        _pull_state(group, group.directory, run_dir, store, pool, advance)
        return
    for file in group.files:
        if file.how == "send" and file.content is not None:
            with as_transfer_error(f"cannot write {run_dir / file.name}"):
                (run_dir / file.name).parent.mkdir(parents=True, exist_ok=True)
                atomic_write_bytes(run_dir / file.name, file.content)
            advance(file.size)


def _pull_state(
    group: CopyGroup,
    state: StateDirectory,
    run_dir: Path,
    store: RunStore,
    pool: ThreadPoolExecutor,
    advance: ReportBytes,
) -> None:
    """Fill a temporary directory, which an interrupted pull may have begun, and rename it at the end."""
    final = run_dir / group.name
    temporary = final.with_name(f".tmp-{final.name}")
    with as_transfer_error(f"cannot write {final}"):
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
            with as_transfer_error(f"cannot write {target}"):
                target.unlink(missing_ok=True)
            store.get(file.name, target, advance)
            _check(target, file, f"{file.name} at {store.label} is damaged")
        with as_transfer_error(f"cannot write {target}"):
            fsync_file(target)

    _all(pool, fetch, group.files)
    with as_transfer_error(f"cannot write {final}"):
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
        return _has_content(path, file)
    return False


def _has_content(path: Path, file: CopyFile) -> bool:
    """Return True if a file here has the bytes that are to be copied. Raises OSError if it cannot be read."""
    return path.stat().st_size == file.size and file_digest(path, file.segments) == file.sha256


def _linked(origin: Path, target: Path, file: CopyFile) -> bool:
    """Link the file of another local checkpoint with the same bytes; return False if it is not intact."""
    if not _is(origin, file):
        return False
    with as_transfer_error(f"cannot write {target}"):
        target.unlink(missing_ok=True)
        link_or_copy(origin, target)
    return True
