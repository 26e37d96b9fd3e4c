"""Which part of a run is copied: of one that is being trained, and of one that is fetched to go on with it. Pure.

Floor 1: imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from lrps.base.errors import CheckpointError, LineageError
from lrps.config.models import Config
from lrps.paths.graph import TrainingPath
from lrps.store.checkpoints import directory_name
from lrps.store.copy.attempts import attempt_records
from lrps.store.copy.inventory import Inventory, Sealed
from lrps.store.identity import identity_differences, path_from_json, path_identity
from lrps.store.retention import retention


def of_paths(inventory: Inventory, paths: Collection[str]) -> Inventory:
    """What belongs to some paths, and to the run as a whole. LineageError for a path that is not there."""
    if unknown := sorted(set(paths) - inventory.identities.keys()):
        there = ", ".join(sorted(inventory.identities)) or "none"
        raise LineageError(f"{inventory.where} has no path {', '.join(unknown)}; its paths: {there}")
    kept = {*paths, "ledger"}
    return replace(
        inventory,
        sealed={name: each for name, each in inventory.sealed.items() if each.path in paths},
        identities={path: each for path, each in inventory.identities.items() if path in paths},
        logs={name: each for name, each in inventory.logs.items() if name.partition("/")[0] in kept},
    )


def snapshot_at_last_checkpoint(inventory: Inventory, path: str) -> Inventory:
    """A path that is being trained, as it was at its newest checkpoint: no state without its record, no later record.

    So a copy is one that training can go on from, and a later copy only adds to it.
    """
    ledger = inventory.ledger(path)
    found = {each.step for kind in ("checkpoints", "branch_points") for each in inventory.whole(path, kind)}
    recorded: set[int] = set()
    end: tuple[str, int] | None = None
    for name, number, record in attempt_records(ledger):
        if record.kind in ("checkpoint", "branch-point") and record.saved_step in found:
            recorded.add(record.saved_step)
            end = (name, number + 1)
    logs = {name: content for name, content in inventory.logs.items() if name not in ledger}
    if end is not None:
        names = list(ledger)
        logs |= {name: ledger[name] for name in names[: names.index(end[0])]}
        logs[end[0]] = b"".join(ledger[end[0]].splitlines(keepends=True)[: end[1]])
    left_out = {
        each.name: replace(each, fault="its record is not in the ledger yet")
        for each in inventory.sealed.values()
        if each.path == path and each.kind != "model" and each.step not in recorded
    }
    return replace(inventory, sealed={**inventory.sealed, **left_out}, logs=logs)


def needed_to_resume(
    there: Inventory,
    here: Inventory,
    paths: Sequence[str] = (),
    step: int | None = None,
    *,
    keep_last: int,
    keep_every_steps: int | None,
) -> Inventory:
    """What of `there` a machine needs: every pin and release, and the periodic checkpoints that retention would keep.

    paths: only these, and of their ancestors the states that they fork from; with step, only that state of the one
    path. LineageError or CheckpointError for what is not there.
    """
    stored = _paths(there)
    known = of_paths(there, stored.keys())
    chosen: dict[str, Sealed] = {}
    for name in of_paths(known, paths or stored.keys()).identities:
        if step is None:
            chosen |= _kept(known, here, stored[name], keep_last, keep_every_steps)
        else:
            chosen |= _state(known, name, step)
    names = set(paths or stored)
    for name in paths:
        while (parent := stored[name].parent) is not None:
            if parent.path not in stored:
                raise LineageError(f"{there.where} has {name}, but not {parent.path}, which it forks from; push that")
            if parent.path not in paths:
                begun = bool(known.whole(name, "branch_points") or known.whole(name, "checkpoints"))
                chosen |= _state(known, parent.path, parent.step, optional=begun)
            names.add(name := parent.path)
    return replace(of_paths(known, names), sealed=chosen)


def check_same_training(inventory: Inventory, config: Config) -> Inventory:
    """The inventory itself. LineageError if a path was trained with another model, optimizer, batch or seed than the
    config says: told before gigabytes are fetched. What the paths are, `lrps run` compares with the plan."""
    for name, path in _paths(inventory).items():
        there = json.loads(inventory.identities[name])
        if differences := identity_differences(there, path_identity(path, config, None, {})):
            raise LineageError(
                f"{name} of {inventory.where} was made by another plan:\n  "
                + "\n  ".join(f"{each} in the config" for each in differences)
                + "\n  give the config that made it, or another address"
            )
    return inventory


def _paths(inventory: Inventory) -> dict[str, TrainingPath]:
    found = {}
    for name, content in inventory.identities.items():
        try:
            found[name] = path_from_json(json.loads(content)["path"])
        except (ValueError, KeyError, TypeError) as error:
            raise LineageError(
                f"{name}/path.json of {inventory.where} cannot be read: {error}; push it again"
            ) from None
    return found


def _kept(
    there: Inventory, here: Inventory, path: TrainingPath, keep_last: int, keep_every_steps: int | None
) -> Mapping[str, Sealed]:
    periodic = {each.step: each for each in there.whole(path.name, "checkpoints")}
    if periodic:
        reasons = retention(periodic, {}, 1 if max(periodic) >= path.stop else keep_last, keep_every_steps)
        # What this machine has let go already is not fetched again.
        passed = max((each.step for each in here.whole(path.name, "checkpoints")), default=-1)
        periodic = {
            step: each
            for step, each in periodic.items()
            if reasons[step] is not None and (step >= passed or each.name in here.sealed)
        }
    found = {each.name: each for each in there.sealed.values() if each.path == path.name and each.kind != "checkpoints"}
    broken = {each.name: each for each in there.sealed.values() if each.path == path.name and each.fault is not None}
    return found | broken | {each.name: each for each in periodic.values()}


def _state(there: Inventory, path: str, step: int, optional: bool = False) -> dict[str, Sealed]:
    """The state of a path at a step: the pin, or else the periodic checkpoint."""
    states = [each for kind in ("branch_points", "checkpoints") for each in there.whole(path, kind)]
    found = next((each for each in states if each.step == step), None)
    if found is not None:
        return {found.name: found}
    if optional:
        return {}
    steps = ", ".join(map(str, sorted({each.step for each in states}))) or "none"
    raise CheckpointError(f"{there.where} has no whole {directory_name(step)} of {path}; whole are steps: {steps}")
