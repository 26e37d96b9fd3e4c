"""The comparison of two inventories: what has to be copied so that the target has what the source has.

Pure functions that read no files. Push and pull follow the same rules. Complete checkpoints at the target are skipped.
A pin or a released model is never replaced; a periodic checkpoint only if the ledger shows that the same path saved the
step again. Of append-only files the longer one wins. Contradictions are raised before anything is copied. Must not
import torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lrps.base.errors import CheckpointError, LedgerError, LineageError, LrpsError
from lrps.base.files import json_bytes
from lrps.base.foreign_json import parse_json
from lrps.paths.amendments import Amendments, longer_list
from lrps.paths.graph import TrainingPath
from lrps.store.copy.attempts import attempt_records, given_up, in_order, saves
from lrps.store.copy.inventory import PENDING, Inventory, StateDirectory
from lrps.store.copy.rewinds import ended_states, with_amendments
from lrps.store.identity import AVERAGE_KEY, identity_differences, path_from_json
from lrps.store.layout import HELDOUT

EXISTS = "exists already"
MOVED = "a rewind has ended its history: moved to abandoned/"
"""Reason of a group whose directory is removed, once its copy is complete."""


@dataclass(frozen=True)
class CopyFile:
    """One file of a group. how: `send` its bytes, `copy` them from `origin` at the target, or `keep` the one there."""

    name: str
    size: int
    how: str
    sha256: str | None = None
    """Digest of the content of a file of a state, see `content_digest` in lrps.store.segments."""
    segments: tuple[int, ...] = ()
    """Sizes in bytes of the segments that the digest is made of."""
    origin: str | None = None
    content: bytes | None = None
    """Content of a small file; other files are read from the source."""


@dataclass(frozen=True)
class CopyGroup:
    """Files that are copied together: a checkpoint, a released model, the ledger of a path, a document.

    why: reason of the action, for people.
    """

    name: str
    files: tuple[CopyFile, ...]
    why: str
    directory: StateDirectory | None = None
    """The state's directory, whose last file is written last; None for other files."""
    stale: tuple[str, ...] = ()
    """Files to remove before copying, the last file of an older state first, so that it never lists wrong files."""

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)

    def bytes_of(self, how: str) -> int:
        return sum(file.size for file in self.files if file.how == how)

    @property
    def action(self) -> str:
        """Action for the group: `send`, `copy` if no bytes are sent, or `skip`."""
        hows = {file.how for file in self.files}
        if "send" in hows or (self.directory and self.why != EXISTS and hows == {"keep"}):
            return "send"
        return "copy" if "copy" in hows else "skip"


def compare_inventories(source: Inventory, target: Inventory, *, replace_documents: bool) -> tuple[CopyGroup, ...]:
    """Return the groups of `source` in the order in which they must be copied: identities, ledgers, then states.

    replace_documents: replace another plan.json or report at the target; a run.json is never replaced. If False, the
    report is left out: `lrps report` makes it from the ledgers, and pages of others are not to be opened here. Raises
    LineageError with all contradictions; then nothing may be copied.
    """
    groups: list[CopyGroup] = []
    contradictions: list[str] = []
    for make in (_plans, _identities, _ledgers, _metrics, _states):
        for step in make(source, target):
            if isinstance(step, LrpsError):
                contradictions.append(str(step))
            else:
                groups.append(step)
    if contradictions:
        raise LineageError("nothing was copied:\n  " + "\n  ".join(contradictions))
    return (*groups, *_documents(source, target, replace_documents))


def _plans(source: Inventory, target: Inventory) -> Iterator[CopyGroup | LrpsError]:
    here, there = (_plan_name(each.documents.get("plan.json", b"{}")) for each in (source, target))
    if here is not None and there is not None and here != there:
        yield LineageError(
            f"{source.where} is a run of plan {here!r}, {target.where} of plan {there!r}: give each its own address"
        )


def _plan_name(plan_json: bytes) -> str | None:
    try:
        return str(parse_json(plan_json, "plan.json")["config"]["name"])
    except (ValueError, KeyError, TypeError):
        return None


def _identities(source: Inventory, target: Inventory) -> Iterator[CopyGroup | LrpsError]:
    for path, ours in sorted(source.identities.items()):
        name, theirs = f"{path}/path.json", target.identities.get(path)
        if theirs is None or ours == theirs:
            yield _small(name, ours, theirs, "new")
            continue
        try:
            here, there = parse_json(ours, name), parse_json(theirs, name)
            differences = identity_differences(there, here)
            old, new = path_from_json(there["path"]), path_from_json(here["path"])
        except (ValueError, KeyError, TypeError) as error:
            yield LineageError(
                f"{name} of {source.where} or {target.where} cannot be read as a path's identity: {error}"
            )
            continue
        if differences:
            words = differences[0].between(target.where, source.where)
            yield LineageError(f"{path} is another path: {words}; give the plan another `name`, or another address")
        elif (amendments := longer_list(new.amendments, old.amendments)) is None:
            yield LineageError(
                f"{path} was taken back to other steps at {target.where} than at {source.where} (`lrps rewind`): keep "
                "one of the two, and copy the run under another name or address"
            )
        elif new.parent and _history(new) != _history(old) and _begun(target, path):
            yield LineageError(
                f"{path} was forked from another history of {new.parent.path} at {target.where} than at "
                f"{source.where}: keep one of the two, or move {path} away on one side"
            )
        else:
            grown = new.stop > old.stop or AVERAGE_KEY in here.keys() - there.keys() or _history(new) != _history(old)
            yield _merged_identity(name, ours, theirs, (here if grown else there, there), amendments)


def _merged_identity(
    name: str, ours: bytes, theirs: bytes, identities: tuple[Any, Any], amendments: Amendments
) -> CopyGroup:
    """Return the copy of a path.json. identities: the one to keep and the target's. amendments: the longer list."""
    kept, there = identities
    content = json_bytes(with_amendments(kept, amendments))
    if content == json_bytes(there):
        return _small(name, ours, ours)
    return _small(name, content, theirs, "the path has grown, or was taken back")


def _history(path: TrainingPath) -> int:
    return 0 if path.parent is None else path.parent.generation


def _begun(inventory: Inventory, path: str) -> bool:
    return any(inventory.complete(path, kind) for kind in ("checkpoints", "branch_points"))


def _ledgers(source: Inventory, target: Inventory) -> Iterator[CopyGroup | LrpsError]:
    for path in ("", *sorted(source.identities)):
        ours, theirs = source.ledger(path), target.ledger(path)
        if not ours:
            continue
        try:
            files = [_grown(name, content, theirs.get(name), source, target) for name, content in ours.items()]
            merged = theirs | {file.name: ours[file.name] for file in files if file.how == "send"}
            for _ in attempt_records({name: merged[name] for name in in_order(merged)}):
                pass
        except LrpsError as error:
            yield error
        else:
            yield CopyGroup(f"{path}/ledger".lstrip("/"), tuple(files), _why(files, bool(theirs)))


def _metrics(source: Inventory, target: Inventory) -> Iterator[CopyGroup | LrpsError]:
    for name in sorted(name for name in source.logs if name.endswith("/metrics.jsonl")):
        try:
            file = _grown(name, source.logs[name], target.logs.get(name), source, target)
        except LrpsError as error:
            yield error
        else:
            yield CopyGroup(name, (file,), _why([file], name in target.logs))


def _grown(name: str, ours: bytes, theirs: bytes | None, source: Inventory, target: Inventory) -> CopyFile:
    """Return the copy of an append-only file. Raises LineageError if neither side begins with the other."""
    if theirs is not None and theirs.startswith(ours):
        return CopyFile(name, len(ours), "keep")
    if theirs is None or ours.startswith(theirs):
        return CopyFile(name, len(ours), "send", content=ours)
    raise LineageError(
        f"{name} of {source.where} and of {target.where} contradict each other: the path was continued on both sides. "
        f"Keep one: copy the run under another name or address, or move {name.partition('/')[0]} away on one side"
    )


def _states(source: Inventory, target: Inventory) -> Iterator[CopyGroup | LrpsError]:
    """Yield the groups of checkpoints and released models. Equal files are sent once and then copied at the target.

    States whose history a rewind has ended move at the target first, so that none of them contradicts a new one.
    """
    moved = {each.name: aside for each, aside in ended_states(target, source)}
    for name, aside in moved.items():
        yield from _move(target, name, aside)
    target = replace(target, directories={n: each for n, each in target.directories.items() if n not in moved})
    ended = {each.name for each, _ in ended_states(source, target)}
    known = {
        entry["sha256"]: f"{each.name}/{file}"
        for each in target.directories.values()
        if each.fault is None and source.directories.get(each.name, each).listing == each.listing
        for file, entry in each.files.items()
    }
    asides = {aside.name: aside for aside in moved.values()}
    known |= {entry["sha256"]: f"{name}/{file}" for name, each in asides.items() for file, entry in each.files.items()}
    for ours in sorted(source.directories.values(), key=_order):
        if ours.fault is not None:
            yield CopyGroup(ours.name, (), f"left out: {ours.fault}")
            continue
        if ours.name in asides:
            continue  # It has just been moved there.
        if ours.name in ended:
            yield CopyGroup(ours.name, (), f"left out: {target.where} was taken back (`lrps rewind`)")
            continue
        theirs = target.directories.get(ours.name)
        try:
            group = _state(ours, theirs, source, target, known)
        except LrpsError as error:
            yield error
            continue
        if group.action != "skip":
            known |= {entry["sha256"]: f"{ours.name}/{file}" for file, entry in ours.files.items()}
        yield group
    yield from _abandoned(source, target)


def _move(target: Inventory, name: str, aside: StateDirectory) -> Iterator[CopyGroup]:
    """Yield the groups that move a state at the target: a copy under another name, then the removal of the old one."""
    there = target.directories.get(aside.name)
    if there is None or there.fault is not None or there.listing != aside.listing:
        files = tuple(
            CopyFile(
                f"{aside.name}/{file}", entry["bytes"], "copy", entry["sha256"], entry["segments"], f"{name}/{file}"
            )
            for file, entry in sorted(aside.files.items())
        )
        yield CopyGroup(aside.name, files, "its history was ended by a rewind", aside)
    left = sorted(target.directories[name].present, key=lambda file: file != aside.last)
    yield CopyGroup(name, (), f"{MOVED}{aside.name.split('/')[2]}", stale=tuple(f"{name}/{file}" for file in left))


def _abandoned(source: Inventory, target: Inventory) -> Iterator[CopyGroup]:
    """Yield a group that removes each unfinished copy of a periodic checkpoint that the source has pruned since."""
    for theirs in target.directories.values():
        gone = theirs.path in source.identities and theirs.name not in source.directories
        if gone and theirs.fault and theirs.pending and theirs.kind == "checkpoints":
            left = (*(f"{theirs.name}/{name}" for name in sorted(theirs.present)), f"{theirs.name}/{PENDING}")
            yield CopyGroup(theirs.name, (), "an unfinished copy of a pruned checkpoint, removed", stale=left)


def _order(each: StateDirectory) -> tuple[str, bool, int, str]:
    """Return the sort key: path, then checkpoints by step with pins first (the most important), releases last."""
    return each.path, each.is_release, 0 if each.is_release else each.step, each.name


def _state(
    ours: StateDirectory, theirs: StateDirectory | None, source: Inventory, target: Inventory, known: Mapping[str, str]
) -> CopyGroup:
    why, kept, stale = "new", set[str](), list[str]()
    if theirs is not None:
        if theirs.fault is None and theirs.listing == ours.listing:
            mark = (f"{ours.name}/{PENDING}",) if theirs.pending else ()
            return CopyGroup(ours.name, _files(ours, set(ours.files), {}), EXISTS, ours, mark)
        if theirs.files and theirs.listing != ours.listing:
            newer = (_newer_merge if ours.kind == "merged" else _newer)(ours, theirs, source, target)
            if newer == "target":
                return CopyGroup(ours.name, (), "the target's was saved later")
            if newer is None:
                raise CheckpointError(
                    f"{ours.name} is another state at {source.where} than at {target.where}, and a pin or a release "
                    "never changes: use another address or run name, or remove one of the two by hand, with everything "
                    "that forked from it"
                )
            why = "replaces an older state of this step"
        elif ours.listing in (theirs.pending, theirs.listing):
            why = "continues an unfinished copy"
            kept = {name for name, entry in ours.files.items() if theirs.present.get(name) == entry["bytes"]}
        # The old last file is removed first, so that it never lists changed files.
        left = sorted(theirs.present, key=lambda name: name != ours.last)
        stale = [f"{ours.name}/{name}" for name in left if name not in kept]
    files = _files(ours, kept, known)
    if files and why == "new" and all(file.how == "copy" for file in files):
        why = f"the same bytes as {str(files[0].origin).rpartition('/')[0]}"
    return CopyGroup(ours.name, files, why, ours, tuple(stale))


def _files(ours: StateDirectory, kept: set[str], known: Mapping[str, str]) -> tuple[CopyFile, ...]:
    def file(name: str, entry: Mapping[str, Any]) -> CopyFile:
        origin = None if name in kept else known.get(entry["sha256"])
        how = "keep" if name in kept else "send" if origin is None else "copy"
        return CopyFile(f"{ours.name}/{name}", entry["bytes"], how, entry["sha256"], entry["segments"], origin)

    return tuple(file(name, entry) for name, entry in sorted(ours.files.items()))


def _newer(ours: StateDirectory, _: StateDirectory, source: Inventory, target: Inventory) -> str | None:
    """Return the side that saved a checkpoint later, `source` or `target`, by the ledgers; None if unknown.

    A pin is saved again only if training has given it up as doubtful.
    """
    if ours.kind not in ("checkpoints", "branch_points"):
        return None
    here, there = source.ledger(ours.path), target.ledger(ours.path)
    try:
        mine, other = saves(here).get(ours.step), saves(there).get(ours.step)
        replaceable = ours.kind == "checkpoints" or ours.step in {*given_up(here), *given_up(there)}
    except LedgerError:
        return None  # `_ledgers` reports the error.
    if not replaceable:
        return None
    if mine is not None and mine[1] >= there.get(mine[0], b"").count(b"\n"):
        return "source"
    if other is not None and other[1] >= here.get(other[0], b"").count(b"\n"):
        return "target"
    return None


def _newer_merge(ours: StateDirectory, theirs: StateDirectory, source: Inventory, target: Inventory) -> str | None:
    """Return the side whose merged state is of the newer history, or was made after more states had been given up.

    None if neither is newer.
    """
    here, there = (len(given_up(side.ledger(ours.path))) for side in (source, target))
    mine, other = (ours.history, here), (theirs.history, there)
    if mine == other:
        return None
    return "source" if mine > other else "target"


def _documents(source: Inventory, target: Inventory, replace: bool) -> Iterator[CopyGroup]:
    def file(name: str) -> CopyFile:
        ours, theirs = source.documents[name], target.documents.get(name)
        keep = theirs == ours or (theirs is not None and (not replace or name == "run.json"))
        return CopyFile(name, len(ours), "keep" if keep else "send", content=ours)

    of_paths = (f"{path}/{HELDOUT}" for path in sorted(source.identities))
    for group in ("plan.json", "run.json", *(["report"] if replace else []), *of_paths):
        files = [file(name) for name in sorted(source.documents) if name == group or name.startswith(f"{group}/")]
        if files:
            there = any(file.name in target.documents for file in files)
            yield CopyGroup(group, tuple(files), _why(files, there))


def _small(name: str, ours: bytes, theirs: bytes | None, why: str = "new") -> CopyGroup:
    same = ours == theirs
    file = CopyFile(name, len(ours), "keep" if same else "send", content=ours)
    return CopyGroup(name, (file,), EXISTS if same else why)


def _why(files: list[CopyFile], there: bool) -> str:
    if all(file.how == "keep" for file in files):
        return EXISTS
    return "has grown" if there else "new"
