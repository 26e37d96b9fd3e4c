"""The checks before anything is started: whatever would make a job fail is reported first."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from lrps.base.errors import DataError
from lrps.base.files import located
from lrps.base.locks import check_free
from lrps.engine.model_config import check_model_config
from lrps.plan.initial import initial_checkpoint
from lrps.plan.origin import fork
from lrps.plan.plan import Plan
from lrps.plan.recovery import path_states
from lrps.plan.status import PathStatus, saved_step
from lrps.store.layout import RunLayout


def check_shards(plan: Plan) -> None:
    """Raise DataError if data that the plan reads has no shards.

    Rehearsal sets that `lrps rehearse` has not written yet are exempt: only the paths of `waiting_for_sets` need them.
    """
    read = {source for path in plan.graph.paths for source in path.sources} - _unwritten_sets(plan)
    wanted = [shards for shards in plan.config.data.shard_sets if shards.version in read]
    missing = [shards for shards in wanted if shards.name not in plan.manifests]
    if missing:
        names = ", ".join(shards.name for shards in missing)
        commands = " and ".join(dict.fromkeys(f"`{shards.command}`" for shards in missing))
        raise DataError(f"no shards in {located(plan.config.data.root)} for version {names}; run {commands} first")


def _unwritten_sets(plan: Plan) -> set[str]:
    """Return the rehearsal sets that models are to write and have not written yet."""
    return {each.name for each in plan.config.data.rehearsal if each.synthesis is not None} - plan.manifests.keys()


def waiting_for_sets(plan: Plan, statuses: Sequence[PathStatus]) -> dict[str, set[str]]:
    """Return path -> unwritten rehearsal sets that it or an ancestor reads, for the paths that read any."""
    unwritten = _unwritten_sets(plan)
    waiting = {
        status.path.name: unwritten & {source for path in plan.graph.lineage(status.path) for source in path.sources}
        for status in statuses
    }
    return {name: sets for name, sets in waiting.items() if sets}


def check_model_fits(plan: Plan) -> None:
    """Raise ConfigError if the model cannot be built, or is too small for the tokenizer or the sequence length.

    A run that was begun before models were examined is refused only if no model can be built; training prints the
    rest. Imports transformers, which takes seconds.
    """
    check_model_config(plan.config.model, plan.manifests, plan.config.data.sequence_length, plan.begun)


def check_forks(plan: Plan, statuses: Sequence[PathStatus]) -> None:
    """Check that every state from which an unfinished path starts exists or can still be saved.

    Raises LineageError if a parent has passed the step of a fork without saving a branch point, and CheckpointError if
    the initial state of the config does not exist.
    """
    if statuses:
        initial_checkpoint(plan.config.model)
    for status in statuses:
        parent = status.path.parent
        if parent is None or status.totals.attempts:
            continue
        saved = saved_step(plan.layout.path(parent.path))
        # A state that may be broken is not forked from: the parent goes back first, and saves it again.
        doubtful = path_states(parent.path, plan.layout, [status.path]).doubtful
        if saved is not None and saved >= parent.step and parent.step not in doubtful:
            fork(status.path, plan.layout)


def check_idle(layout: RunLayout, names: Sequence[str]) -> None:
    """Raise LineageError if one of the paths is being trained.

    Its lock would refuse a second process group only after that has allocated memory on the same devices.
    """
    for name in names:
        check_free(layout.path(name).directory)


def check_written(waiting: Mapping[str, set[str]], config_file: Path, overrides: Sequence[str]) -> None:
    """Raise DataError that names the next commands if paths wait for rehearsal sets."""
    if waiting:
        raise DataError(waiting_text(waiting, config_file, overrides))


def waiting_text(waiting: Mapping[str, set[str]], config_file: Path, overrides: Sequence[str]) -> str:
    """Return a message that names the paths that wait for rehearsal sets, and the next commands."""
    settings = [part for text in overrides for part in ("--set", text)]
    commands = [
        f"`{shlex.join(['lrps', 'rehearse', str(config_file), name, *settings])}`"
        for name in sorted(set().union(*waiting.values()))
    ]
    return (
        f"{', '.join(waiting)}: waiting for rehearsal data that models are to write; run {' and '.join(commands)}, "
        "then the same command again"
    )
