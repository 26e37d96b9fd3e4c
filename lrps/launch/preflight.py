"""What is checked before anything is started: nothing is begun that must fail."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from lrps.base.errors import DataError
from lrps.base.locks import check_free
from lrps.plan.initial import initial_checkpoint
from lrps.plan.origin import fork
from lrps.plan.plan import Plan, shards_command
from lrps.plan.status import PathStatus, saved_step


def check_shards(plan: Plan) -> None:
    """Raises DataError if something that the plan reads has no shards: nothing is started that must fail.

    But for sets that `lrps rehearse` is still to write: only paths that `waiting_for_sets` names need them.
    """
    read = {source for path in plan.graph.paths for source in path.sources} - _unwritten_sets(plan)
    missing = [each for each in plan.config.data.sources if each.name in read - plan.manifests.keys()]
    if missing:
        names = ", ".join(version.name for version in missing)
        commands = " and ".join(dict.fromkeys(f"`{shards_command(version)}`" for version in missing))
        raise DataError(f"no shards in {plan.config.data.root} for version {names}; run {commands} first")


def _unwritten_sets(plan: Plan) -> set[str]:
    """The rehearsal sets that models are to write and have not yet."""
    return {each.name for each in plan.config.data.rehearsal if each.synthesis is not None} - plan.manifests.keys()


def waiting_for_sets(plan: Plan, statuses: Sequence[PathStatus]) -> dict[str, set[str]]:
    """Path -> rehearsal sets that are still to be written and that it, or a path that it starts from, reads."""
    unwritten = _unwritten_sets(plan)
    waiting = {
        status.path.name: unwritten & {source for path in plan.graph.lineage(status.path) for source in path.sources}
        for status in statuses
    }
    return {name: sets for name, sets in waiting.items() if sets}


def check_forks(plan: Plan, statuses: Sequence[PathStatus]) -> None:
    """Raises LineageError if a path that is to begin forks where its parent has passed without a branch point.

    CheckpointError if the state that paths without a parent start from is not there.
    """
    if statuses:
        initial_checkpoint(plan.config.model)
    for status in statuses:
        parent = status.path.parent
        if parent is None or status.totals.attempts:
            continue
        saved = saved_step(plan.layout.path(parent.path))
        if saved is not None and saved >= parent.step:
            fork(status.path, plan.layout)


def check_idle(plan: Plan, names: Sequence[str]) -> None:
    """Raises LineageError if somebody trains one of the paths: a second group would take room on the same devices
    before it is refused."""
    for name in names:
        check_free(plan.layout.path(name).directory)


def check_written(waiting: Mapping[str, set[str]], config_file: Path, overrides: Sequence[str]) -> None:
    """Raises DataError that names the next commands if paths wait for rehearsal sets."""
    if waiting:
        raise DataError(waiting_text(waiting, config_file, overrides))


def waiting_text(waiting: Mapping[str, set[str]], config_file: Path, overrides: Sequence[str]) -> str:
    """Which paths wait for rehearsal sets, and the next commands."""
    settings = [part for text in overrides for part in ("--set", text)]
    commands = [
        f"`{shlex.join(['lrps', 'rehearse', str(config_file), name, *settings])}`"
        for name in sorted(set().union(*waiting.values()))
    ]
    return (
        f"{', '.join(waiting)}: waiting for rehearsal data that models are to write; run {' and '.join(commands)}, "
        "then the same command again"
    )
