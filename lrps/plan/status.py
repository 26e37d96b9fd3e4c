"""Where every path of a plan stands, read from the run directory. Imports no torch.

The run directory is the truth: a path is complete when the checkpoint of its last step is, and when every version it
releases was evaluated.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from lrps.base.errors import CheckpointError, LineageError
from lrps.base.locks import is_locked, last_host
from lrps.ledger.metrics import Metrics, RecentMetrics
from lrps.ledger.reader import HeldoutEvaluation, evaluations, read_ledger
from lrps.ledger.records import Record
from lrps.ledger.totals import AttemptPace, Totals, attempt_paces, total
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.store.checkpoints import Checkpoint, complete_checkpoints, find, newest_intact, verify_checkpoint
from lrps.store.identity import check_identity
from lrps.store.layout import PathLayout


@dataclass(frozen=True)
class PathStatus:
    """One path as it stands. state: planned | running | interrupted | failed | trained | complete | foreign.

    `trained`: all steps are done, an evaluation is missing. `planned` with a step above the start: the path has
    grown since it was trained, as the main path does with every version. `foreign`: the directory holds a path of
    another plan, which `lrps run` refuses to touch.
    """

    path: TrainingPath
    state: str
    step: int
    """Lineage step of the newest complete checkpoint; the path's start while there is none."""
    totals: Totals
    evaluations: dict[tuple[int, str], HeldoutEvaluation]
    live_step: int
    """Lineage step of the newest record: where training stands now, or stood when it ended."""
    recent: tuple[Metrics, ...] = ()
    """The last logged steps up to `live_step`, oldest first."""
    tokens_per_second: float | None = None
    """As last logged; None while the newest attempt has logged nothing."""
    paces: tuple[AttemptPace, ...] = ()
    """One an attempt, oldest first."""
    silent_seconds: float | None = None
    """Since a running path has last written anything."""
    trouble: str | None = None
    """What could not be read of the path's files."""


@dataclass(frozen=True)
class Findings:
    """What the files of a path say; who follows a running graph keeps it between two looks (plan/follow.py)."""

    foreign: bool
    saved: int | None
    """Lineage step of the newest complete checkpoint."""
    records: Sequence[Record]
    recent: tuple[Metrics, ...]


def path_status(plan: Plan, path: TrainingPath) -> PathStatus:
    """The status of one path, read strictly. Raises LedgerError for a ledger that was changed."""
    layout = plan.layout.path(path.name)
    # A trainer that ends in between shall not look killed, so the lock comes before what it lets go of last.
    locked = is_locked(layout.directory)
    if is_foreign(plan, path):
        return status_of(plan, path, Findings(True, None, (), ()), locked)
    records = tuple(read_ledger(layout.ledger, heartbeats=False))
    recent = RecentMetrics().refreshed(layout.metrics).newest
    return status_of(plan, path, Findings(False, saved_step(layout), records, recent), locked)


def status_of(plan: Plan, path: TrainingPath, findings: Findings, locked: bool) -> PathStatus:
    """What the findings make of a path. locked: whether its lock was held before they were read."""
    if findings.foreign:
        return PathStatus(path, "foreign", path.start, Totals(), {}, path.start)
    records, saved, layout = findings.records, findings.saved, plan.layout.path(path.name)
    totals, found = total(records), evaluations(records)
    if locked or (totals.state == "running" and (is_locked(layout.directory) or _runs_elsewhere(plan, layout, totals))):
        state = "running"
    elif saved is not None and saved >= path.stop:
        state = "trained" if _missing(plan, path, found) else "complete"
    elif totals.state == "running":
        state = "failed"  # the last record is a heartbeat and nobody is there: the process was killed
    else:
        state = "planned" if totals.state == "complete" else totals.state
    step = path.start if saved is None else saved
    live_step, logging = _live_step(records, findings.recent, step)
    recent = tuple(metrics for metrics in findings.recent if metrics.step <= live_step)
    return PathStatus(
        path,
        state,
        step,
        totals,
        found,
        live_step=live_step,
        recent=recent,
        tokens_per_second=recent[-1].tokens_per_second if recent and logging else None,
        paces=attempt_paces(records),
        silent_seconds=_silence(layout, totals) if state == "running" else None,
    )


_WHERE_TRAINING_STANDS = ("start", "heartbeat", "checkpoint")
"""Kinds of records whose step is that; an evaluation may be of an earlier state."""


def _live_step(records: Sequence[Record], recent: Sequence[Metrics], saved: int) -> tuple[int, bool]:
    """Where training stands, and whether the newest attempt has logged a step."""
    newest = next((record for record in reversed(records) if record.kind in _WHERE_TRAINING_STANDS), None)
    logged = recent[-1].step if recent else None
    if newest is None:
        return saved if logged is None else logged, logged is not None
    if newest.kind == "start" or logged is None:
        return newest.step, False  # the metrics are of attempts before
    return max(newest.step, logged), True


def _runs_elsewhere(plan: Plan, layout: PathLayout, totals: Totals) -> bool:
    """True if another host's trainer may be alive: it has written in the time after which one that is stuck ends."""
    if last_host(layout.directory) in (None, socket.gethostname()):
        return False
    age = time.time() - (_seconds(totals.updated) or 0.0)
    return age < plan.config.launch.collective_timeout_minutes * 60


def _silence(layout: PathLayout, totals: Totals) -> float:
    """Seconds since a path's trainer has last written: a record, a logged step, or its name when it began."""
    signs = [_seconds(totals.updated) or 0.0]
    for file in (layout.metrics, layout.directory / "lock"):
        with suppress(FileNotFoundError):
            signs.append(file.stat().st_mtime)
    return max(0.0, time.time() - max(signs))


def _seconds(iso_time: str | None) -> float | None:
    """A record's time as `time.time()` gives it."""
    return None if iso_time is None else datetime.fromisoformat(iso_time).timestamp()


def plan_status(plan: Plan) -> tuple[PathStatus, ...]:
    """The status of every path, parents before children."""
    return tuple(path_status(plan, path) for path in plan.graph.paths)


def saved_step(layout: PathLayout) -> int | None:
    """Return the lineage step of the newest complete checkpoint of a path; None if there is none."""
    places = (layout.checkpoints, layout.branch_points)
    return max((c.step for place in places for c in complete_checkpoints(place)), default=None)


def intact_checkpoint(plan: Plan, name: str, step: int | None = None) -> Checkpoint:
    """The checkpoint of a path at `step`, or its newest one, every byte as it was written.

    Raises ConfigError if the plan has no such path, CheckpointError if there is no such checkpoint or it is damaged,
    LineageError if the directory is another plan's.
    """
    check_run_dir(plan, plan.named_paths([name]))
    layout = plan.layout.path(name)
    if step is not None:
        found = find(layout, step)
        verify_checkpoint(found)
        return found
    newest, skipped = newest_intact(layout.checkpoints, layout.branch_points)
    if newest is None:
        raise CheckpointError("\n  ".join((f"{layout.directory} has no intact checkpoint", *map(str, skipped))))
    return newest


def is_foreign(plan: Plan, path: TrainingPath) -> bool:
    """True if the path's directory is another plan's."""
    return _foreign(plan, path) is not None


def done_steps(plan: Plan) -> dict[str, int]:
    """path name -> its saved step, of the paths of this plan that have one."""
    saved = {
        path.name: saved_step(plan.layout.path(path.name)) for path in plan.graph.paths if not is_foreign(plan, path)
    }
    return {name: step for name, step in saved.items() if step is not None}


def check_run_dir(plan: Plan, paths: Iterable[TrainingPath]) -> None:
    """Raises LineageError if the directory of one of `paths` or their ancestors holds a path of another plan: found
    before anything is started."""
    lineages = {ancestor.name: ancestor for path in paths for ancestor in plan.graph.lineage(path)}
    for ancestor in lineages.values():
        if (error := _foreign(plan, ancestor)) is not None:
            raise error


def _foreign(plan: Plan, path: TrainingPath) -> LineageError | None:
    """Why the path's directory is another plan's, if it is."""
    layout = plan.layout.path(path.name)
    if saved_step(layout) is None:
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


def missing_evaluations(plan: Plan, path: TrainingPath) -> dict[int, list[str]]:
    """step -> held-out versions that the ledger has no evaluation of, for every state that the path releases.

    An evaluation on other held-out rows than now counts as missing; versions without shards are left out.
    """
    return _missing(plan, path, evaluations(read_ledger(plan.layout.path(path.name).ledger, heartbeats=False)))


def _missing(plan: Plan, path: TrainingPath, done: dict[tuple[int, str], HeldoutEvaluation]) -> dict[int, list[str]]:
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
