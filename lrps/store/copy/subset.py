"""Subsets of an inventory: of a run that is being trained, and of a run that is pulled to resume it.

Pure functions. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from lrps.base.errors import CheckpointError, LineageError
from lrps.base.foreign_json import parse_json
from lrps.config.models import Config
from lrps.ledger.confirmed import saved_states
from lrps.paths.graph import TrainingPath
from lrps.store.checkpoints import directory_name
from lrps.store.conventions import conventions_in
from lrps.store.copy.attempts import attempt_records
from lrps.store.copy.inventory import Inventory, StateDirectory
from lrps.store.identity import identity_differences, path_from_json, path_identity
from lrps.store.retention import retention, rewindable


def select_paths(inventory: Inventory, paths: Collection[str]) -> Inventory:
    """Return the files of these paths and of the run as a whole. Raises LineageError for an unknown path."""
    if unknown := sorted(set(paths) - inventory.identities.keys()):
        known = ", ".join(sorted(inventory.identities)) or "none"
        raise LineageError(f"{inventory.where} has no path {', '.join(unknown)}; its paths: {known}")
    kept = {*paths, "ledger"}
    return replace(
        inventory,
        directories={name: each for name, each in inventory.directories.items() if each.path in paths},
        identities={path: each for path, each in inventory.identities.items() if path in paths},
        logs={name: each for name, each in inventory.logs.items() if name.partition("/")[0] in kept},
    )


def snapshot_at_last_checkpoint(inventory: Inventory, path: str) -> Inventory:
    """Return the inventory with one path as of its newest checkpoint: no state without a record, no later records.

    Training can resume from such a copy, and a later copy only adds to it.
    """
    ledger = inventory.ledger(path)
    found = {each.step for kind in ("checkpoints", "branch_points") for each in inventory.complete(path, kind)}
    recorded: set[int] = set()
    end: tuple[str, int] | None = None
    for name, number, record in attempt_records(ledger):
        if record.kind == "rewind":
            recorded = {step for step in recorded if step <= record.facts["to"]}
            end = (name, number + 1)
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
        for each in inventory.directories.values()
        if each.path == path and each.kind in ("checkpoints", "branch_points") and each.step not in recorded
    }
    return replace(inventory, directories={**inventory.directories, **left_out}, logs=logs)


def needed_to_resume(
    there: Inventory,
    here: Inventory,
    paths: Sequence[str] = (),
    step: int | None = None,
    *,
    keep_last: int,
    keep_every_steps: int | None,
    keeps_for_rewind: Callable[[str], bool],
) -> Inventory:
    """Return what a machine needs of `there` to resume: pins, releases and the periodic checkpoints of retention.

    here: inventory of the machine, whose pruned checkpoints are not fetched again. paths: only these paths, and the
    states of their ancestors that they fork from. step: only this state of the one path. keeps_for_rewind: whether
    paths of a kind keep older states to rewind to. Raises LineageError for a missing path, CheckpointError for a
    missing state.
    """
    stored = _paths(there)
    known = select_paths(there, stored.keys())
    chosen: dict[str, StateDirectory] = {}
    for name in select_paths(known, paths or stored.keys()).identities:
        if step is None:
            spread = keeps_for_rewind(stored[name].kind)
            chosen |= _kept(known, here, stored[name], keep_last, keep_every_steps, spread)
        else:
            chosen |= _state(known, name, step)
    names = set(paths or stored)
    for name in paths:
        while (parent := stored[name].parent) is not None:
            if parent.path not in stored:
                raise LineageError(
                    f"{there.where} has {name}, but not {parent.path}, which it forks from; push that path too"
                )
            if parent.path not in paths:
                begun = bool(known.complete(name, "branch_points") or known.complete(name, "checkpoints"))
                chosen |= _state(known, parent.path, parent.step, optional=begun)
            names.add(name := parent.path)
    return replace(select_paths(known, names), directories=chosen)


def check_same_training(inventory: Inventory, config: Config) -> Inventory:
    """Return the inventory. Raises LineageError if a path was trained with another model, optimizer, batch or seed.

    So a wrong config is found before gigabytes are copied. The paths themselves are compared by `lrps run`.
    """
    for name, path in _paths(inventory).items():
        there = parse_json(inventory.identities[name], name)
        if differences := identity_differences(there, path_identity(path, config, None, {}, conventions_in(there))):
            raise LineageError(
                f"{name} of {inventory.where} was made by another plan:\n  "
                + "\n  ".join(map(str, differences))
                + "\n  give the config that made it, or another address"
            )
    return inventory


def _paths(inventory: Inventory) -> dict[str, TrainingPath]:
    found = {}
    for name, content in inventory.identities.items():
        try:
            found[name] = path_from_json(parse_json(content, name)["path"])
        except (ValueError, KeyError, TypeError) as error:
            raise LineageError(
                f"{name}/path.json of {inventory.where} cannot be read: {error}; push it again"
            ) from None
    return found


def _kept(
    there: Inventory, here: Inventory, path: TrainingPath, keep_last: int, keep_every_steps: int | None, spread: bool
) -> Mapping[str, StateDirectory]:
    periodic = {each.step: each for each in there.complete(path.name, "checkpoints")}
    if periodic:
        states = saved_states(record for _, _, record in attempt_records(there.ledger(path.name)))
        others = rewindable(periodic, states, spread)
        reasons = retention(periodic, {}, 1 if max(periodic) >= path.stop else keep_last, keep_every_steps, others)
        # Checkpoints that this machine has pruned are not fetched again.
        passed = max((each.step for each in here.complete(path.name, "checkpoints")), default=-1)
        periodic = {
            step: each
            for step, each in periodic.items()
            if reasons[step] is not None and (step >= passed or each.name in here.directories)
        }
    # States that a rewind abandoned stay where they are: nothing continues from them.
    own = {n: each for n, each in there.directories.items() if each.path == path.name and each.kind != "abandoned"}
    found = {n: each for n, each in own.items() if each.kind != "checkpoints"}
    broken = {n: each for n, each in own.items() if each.fault is not None}
    return found | broken | {each.name: each for each in periodic.values()}


def _state(there: Inventory, path: str, step: int, optional: bool = False) -> dict[str, StateDirectory]:
    """Return the state of a path at a step: the pin, or else the periodic checkpoint."""
    states = [each for kind in ("branch_points", "checkpoints") for each in there.complete(path, kind)]
    found = next((each for each in states if each.step == step), None)
    if found is not None:
        return {found.name: found}
    if optional:
        return {}
    steps = ", ".join(map(str, sorted({each.step for each in states}))) or "none"
    raise CheckpointError(f"{there.where} has no complete {directory_name(step)} of {path}; complete steps: {steps}")
