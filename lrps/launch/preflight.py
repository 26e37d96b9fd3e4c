"""What is checked before anything is started: nothing is begun that must fail."""

from __future__ import annotations

from collections.abc import Sequence

from lrps.errors import DataError
from lrps.plan import Plan, shards_command
from lrps.status import PathStatus, saved_step
from lrps.store.initial import initial_checkpoint
from lrps.train.origin import fork


def check_data(plan: Plan) -> None:
    """Raises DataError if something that the plan reads has no shards: nothing is started that must fail."""
    read = {source for path in plan.graph.paths for source in path.sources}
    missing = [each for each in plan.config.data.sources if each.name in read - plan.manifests.keys()]
    if missing:
        names = ", ".join(version.name for version in missing)
        commands = " and ".join(dict.fromkeys(f"`{shards_command(version)}`" for version in missing))
        raise DataError(f"no shards in {plan.config.data.root} for version {names}; run {commands} first")


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
        saved = saved_step(plan, plan.graph.by_name[parent.path])
        if saved is not None and saved >= parent.step:
            fork(status.path, plan.layout)
