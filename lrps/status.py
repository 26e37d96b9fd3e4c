"""Where every path of a plan stands, read from the run directory. Imports no torch.

The run directory is the truth: a path is complete when the checkpoint of its last step is, and when every version it
releases was evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lrps.errors import CheckpointError, ConfigError, LineageError
from lrps.ledger.reader import Evaluation, Totals, evaluations, read_ledger, total
from lrps.paths.graph import Path
from lrps.plan import Plan
from lrps.store.checkpoints import Checkpoint, complete_checkpoints, find, newest_intact, verify
from lrps.store.identity import check_identity
from lrps.store.lock import is_locked


@dataclass(frozen=True)
class PathStatus:
    """One path as it stands. state: planned | running | interrupted | failed | trained | complete | foreign.

    `trained`: all steps are done, an evaluation is missing. `planned` with a step above the start: the path has
    grown since it was trained, as the main path does with every version. `foreign`: the directory holds a path of
    another plan, which `lrps run` refuses to touch.
    """

    path: Path
    state: str
    step: int
    """Lineage step of the newest complete checkpoint; the path's start while there is none."""
    totals: Totals
    evaluations: dict[tuple[int, str], Evaluation]


def path_status(plan: Plan, path: Path) -> PathStatus:
    layout = plan.layout.path(path.name)
    if _foreign(plan, path) is not None:
        return PathStatus(path, "foreign", path.start, Totals(), {})
    records = list(read_ledger(layout.ledger))
    totals, found = total(records), evaluations(records)
    saved = saved_step(plan, path)
    if is_locked(layout.directory):
        state = "running"
    elif saved is not None and saved >= path.stop:
        state = "trained" if _missing(plan, path, found) else "complete"
    elif totals.state == "running":
        state = "failed"  # the last record is a heartbeat and nobody is there: the process was killed
    else:
        state = "planned" if totals.state == "complete" else totals.state
    return PathStatus(path, state, path.start if saved is None else saved, totals, found)


def plan_status(plan: Plan) -> tuple[PathStatus, ...]:
    """The status of every path, parents before children."""
    return tuple(path_status(plan, path) for path in plan.graph.paths)


def saved_step(plan: Plan, path: Path) -> int | None:
    """Lineage step of the newest complete checkpoint of a path."""
    layout = plan.layout.path(path.name)
    places = (layout.checkpoints, layout.branch_points)
    return max((c.step for place in places for c in complete_checkpoints(place)), default=None)


def intact_checkpoint(plan: Plan, name: str, step: int | None = None) -> Checkpoint:
    """The checkpoint of a path at `step`, or its newest one, every byte as it was written.

    Raises ConfigError if the plan has no such path, CheckpointError if there is no such checkpoint or it is damaged,
    LineageError if the directory is another plan's.
    """
    if name not in plan.graph.by_name:
        raise ConfigError(f"the plan has no path {name}; it has {', '.join(plan.graph.by_name)}")
    check_run_dir(plan, [plan.graph.by_name[name]])
    layout = plan.layout.path(name)
    if step is not None:
        found = find(layout, step)
        verify(found)
        return found
    newest, skipped = newest_intact(layout.checkpoints, layout.branch_points)
    if newest is None:
        raise CheckpointError("\n  ".join((f"{layout.directory} has no intact checkpoint", *skipped)))
    return newest


def done_steps(plan: Plan) -> dict[str, int]:
    """path name -> its saved step, of the paths of this plan that have one."""
    saved = {path.name: saved_step(plan, path) for path in plan.graph.paths if _foreign(plan, path) is None}
    return {name: step for name, step in saved.items() if step is not None}


def check_run_dir(plan: Plan, paths: Iterable[Path]) -> None:
    """Raises LineageError if the directory of one of `paths` or their ancestors holds a path of another plan: found
    before anything is started."""
    lineages = {ancestor.name: ancestor for path in paths for ancestor in plan.graph.lineage(path)}
    for ancestor in lineages.values():
        if (error := _foreign(plan, ancestor)) is not None:
            raise error


def _foreign(plan: Plan, path: Path) -> LineageError | None:
    """Why the path's directory is another plan's, if it is."""
    layout = plan.layout.path(path.name)
    if saved_step(plan, path) is None:
        return None  # nothing was trained there that could be of another plan
    if not layout.path_json.exists():
        return LineageError(
            f"{layout.directory}: has checkpoints but no path.json; restore it, or delete the directory"
        )
    try:
        check_identity(layout.path_json, plan.identity(path))
    except LineageError as error:
        return error
    return None


def missing_evaluations(plan: Plan, path: Path) -> dict[int, list[str]]:
    """step -> held-out versions that the ledger has no evaluation of, for every state that the path releases.

    An evaluation on other held-out rows than now counts as missing; versions without shards are left out.
    """
    return _missing(plan, path, evaluations(read_ledger(plan.layout.path(path.name).ledger)))


def _missing(plan: Plan, path: Path, done: dict[tuple[int, str], Evaluation]) -> dict[int, list[str]]:
    wanted = {
        (release.step, version): (plan.heldout[version].sha256, plan.heldout_rows(version))
        for release in plan.graph.releases
        if release.path == path.name
        for version in plan.heldout_versions(release.version)
        if version in plan.heldout
    }
    missing: dict[int, list[str]] = {}
    for (step, version), (sha256, rows) in wanted.items():
        evaluation = done.get((step, version))
        if evaluation is None or (evaluation.manifest_sha256, evaluation.rows) != (sha256, rows):
            missing.setdefault(step, []).append(version)
    return missing
