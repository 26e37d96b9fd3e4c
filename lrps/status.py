"""Where every path of a plan stands, read from the run directory. Imports no torch.

The run directory is the truth: a path is complete when the checkpoint of its last step is, and when every version it
releases was evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass

from lrps.ledger.reader import Evaluation, Totals, evaluations, read_ledger, total
from lrps.paths.graph import Path
from lrps.plan import Plan
from lrps.store.checkpoints import complete_checkpoints
from lrps.store.lock import is_locked


@dataclass(frozen=True)
class PathStatus:
    """One path as it stands. state: planned | running | interrupted | failed | trained | complete.

    `trained`: all steps are done, an evaluation is missing. `planned` with a step above the start: the path has
    grown since it was trained, as the main path does with every version.
    """

    path: Path
    state: str
    step: int
    """Lineage step of the newest complete checkpoint; the path's start while there is none."""
    totals: Totals
    evaluations: dict[tuple[int, str], Evaluation]

    @property
    def steps_to_do(self) -> int:
        return max(0, self.path.stop - self.step)


def path_status(plan: Plan, path: Path) -> PathStatus:
    layout = plan.layout.path(path.name)
    records = list(read_ledger(layout.ledger))
    totals, found = total(records), evaluations(records)
    saved = [c.step for place in (layout.checkpoints, layout.branch_points) for c in complete_checkpoints(place)]
    step = max([path.start, *saved])
    if is_locked(layout.directory):
        state = "running"
    elif step >= path.stop and saved:
        state = "trained" if _missing(plan, path, found) else "complete"
    elif totals.state == "running":
        state = "failed"  # the last record is a heartbeat and nobody is there: the process was killed
    else:
        state = "planned" if totals.state == "complete" else totals.state
    return PathStatus(path, state, step, totals, found)


def plan_status(plan: Plan) -> tuple[PathStatus, ...]:
    """The status of every path, parents before children."""
    return tuple(path_status(plan, path) for path in plan.graph.paths)


def missing_evaluations(plan: Plan, path: Path) -> dict[int, list[str]]:
    """step -> held-out versions that the ledger has no evaluation of, for every state that the path releases.

    An evaluation on a held-out set that has changed since counts as missing; versions without shards are left out.
    """
    return _missing(plan, path, evaluations(read_ledger(plan.layout.path(path.name).ledger)))


def _missing(plan: Plan, path: Path, done: dict[tuple[int, str], Evaluation]) -> dict[int, list[str]]:
    wanted = {
        (release.step, version): plan.heldout[version].sha256
        for release in plan.graph.releases
        if release.path == path.name
        for version in plan.heldout_versions(release.version)
        if version in plan.heldout
    }
    missing: dict[int, list[str]] = {}
    for (step, version), sha256 in wanted.items():
        evaluation = done.get((step, version))
        if evaluation is None or evaluation.manifest_sha256 != sha256:
            missing.setdefault(step, []).append(version)
    return missing


def done_steps(plan: Plan) -> dict[str, int]:
    """path name -> lineage step of its newest complete checkpoint, of the paths that have one."""
    found = {}
    for path in plan.graph.paths:
        layout = plan.layout.path(path.name)
        saved = [c.step for place in (layout.checkpoints, layout.branch_points) for c in complete_checkpoints(place)]
        if saved:
            found[path.name] = max(saved)
    return found
