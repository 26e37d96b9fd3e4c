"""The status of every path of a plan, read from the run directory. Imports no torch.

The run directory is the truth: a path is complete when the checkpoint of its last step is, and when every version it
releases was evaluated.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from lrps.base.errors import CheckpointError, LineageError
from lrps.base.files import located
from lrps.base.locks import is_locked, last_host
from lrps.ledger.confirmed import SavedStates, saved_states
from lrps.ledger.metrics import Metrics, RecentMetrics
from lrps.ledger.reader import MERGE, EvaluationKey, HeldoutEvaluation, evaluations, read_ledger
from lrps.ledger.records import Record
from lrps.ledger.totals import AttemptPace, Totals, attempt_paces, total
from lrps.paths.graph import Release, TrainingPath
from lrps.plan.histories import unfinished
from lrps.plan.parent_state import other_parent
from lrps.plan.plan import Plan
from lrps.plan.recovery import saved_steps, what_follows, with_children
from lrps.plan.released_state import checkpoint_digest
from lrps.store.checkpoints import Checkpoint, complete_checkpoints, find, verify_checkpoint
from lrps.store.identity import check_identity
from lrps.store.layout import PathLayout
from lrps.store.newest import newest_intact


@dataclass(frozen=True)
class PathStatus:
    """The status of one path."""

    path: TrainingPath
    state: str
    """State: planned | running | interrupted | failed | trained | complete | foreign.

    `trained`: all steps are trained, and an evaluation or a merge is missing. `planned` with a step above the start:
    the path has grown since it was trained, as the main path does with every version. `foreign`: the directory belongs
    to a path of another plan, and `lrps run` does not change it.
    """
    step: int
    """Lineage step of the newest complete checkpoint; the path's start while there is none."""
    totals: Totals
    evaluations: dict[EvaluationKey, HeldoutEvaluation]
    """Newest evaluation by step, held-out version and form of the weights."""
    live_step: int
    """Lineage step that training has reached, by the newest record."""
    recent: tuple[Metrics, ...] = ()
    """The last logged steps up to `live_step`, oldest first."""
    tokens_per_second: float | None = None
    """Speed as last logged; None while the newest attempt has logged nothing."""
    paces: tuple[AttemptPace, ...] = ()
    """Pace of every attempt, oldest first."""
    silent_seconds: float | None = None
    """Seconds since a running path has last written anything; None for other states."""
    trouble: str | None = None
    """Description of files that could not be read; None if all could."""
    other_parent: str | None = None
    """Description of a fork whose parent has another state at that step now; None if it has the same one."""
    confirmed_step: int | None = None
    """Lineage step of the newest confirmed state that was saved; None if there is none."""
    failure: str | None = None
    """Description of a failed step and of what has to follow; None if there is none, or if a rerun just resumes."""


@dataclass(frozen=True)
class Findings:
    """The content of a path's files, as far as its status depends on it."""

    foreign: bool
    """True if the directory belongs to another plan."""
    saved: int | None
    """Lineage step of the newest complete checkpoint."""
    records: Sequence[Record]
    recent: tuple[Metrics, ...]
    other_parent: str | None = None
    """Description of a fork whose parent has another state at that step now."""
    states: SavedStates = field(default_factory=SavedStates)
    """Saved states of the path, with what its children show of them."""
    on_disk: frozenset[int] = frozenset()
    """Lineage steps of the complete checkpoints."""


def path_status(plan: Plan, path: TrainingPath) -> PathStatus:
    """Return the status of one path. Raises LedgerError for a ledger that was changed."""
    layout = plan.layout.path(path.name)
    # The lock is read before the ledger: a trainer that ends in between must not seem to have been killed.
    locked = is_locked(layout.directory)
    if is_foreign(plan, path):
        return status_of(plan, path, Findings(True, None, (), ()), locked)
    records = tuple(read_ledger(layout.ledger, heartbeats=False))
    recent = RecentMetrics().refreshed(layout.metrics).newest
    on_disk = frozenset(saved_steps(layout))
    saved = max(on_disk, default=None)
    other = other_parent(plan, path, records) if saved is not None else None
    states = with_children(saved_states(records), path.name, plan.layout, plan.graph.children(path.name))
    return status_of(plan, path, Findings(False, saved, records, recent, other, states, on_disk), locked)


def status_of(plan: Plan, path: TrainingPath, findings: Findings, locked: bool) -> PathStatus:
    """Return the status that follows from the findings. locked: True if the path was locked before they were read."""
    if findings.foreign:
        return PathStatus(path, "foreign", path.start, Totals(), {}, path.start)
    records, saved, layout = findings.records, findings.saved, plan.layout.path(path.name)
    cut_short = [path.amendments[number - 1].at for number in unfinished(path, records)]
    if cut_short and saved is not None:
        saved = min(saved, *cut_short)  # States beyond it count no longer, and are not moved yet.
    totals, found = total(records), evaluations(records)
    if locked or (totals.state == "running" and (is_locked(layout.directory) or _runs_elsewhere(plan, layout, totals))):
        state = "running"
    elif saved is not None and saved >= path.stop and saved not in findings.states.doubtful:
        state = "trained" if _missing(plan, path, found) or unmade_merges(plan, path) else "complete"
    elif totals.state == "running" or saved in findings.states.doubtful:
        state = "failed"  # The last record is a heartbeat and no process holds the lock: it was killed.
    else:
        state = _UNFINISHED.get(totals.state, totals.state)
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
        other_parent=findings.other_parent,
        confirmed_step=max(findings.states.saved & findings.states.confirmed, default=None),
        failure=None if state == "running" else what_follows(path, findings.states, findings.on_disk),
    )


_UNFINISHED = {"complete": "planned", "rewound": "interrupted"}
"""State of a path with steps to train, by how its newest attempt ended, if that is another one."""
_KINDS_AT_LIVE_STEP = ("start", "heartbeat", "skip", "checkpoint")
"""Kinds of records whose step training had reached; an evaluation may be of an earlier state."""


def _live_step(records: Sequence[Record], recent: Sequence[Metrics], saved: int) -> tuple[int, bool]:
    """Return the step that training has reached, and whether the newest attempt has logged a step."""
    newest = next((record for record in reversed(records) if record.kind in _KINDS_AT_LIVE_STEP), None)
    logged = recent[-1].step if recent else None
    if newest is None:
        return saved if logged is None else logged, logged is not None
    if newest.kind == "start" or logged is None:
        return newest.step, False  # The metrics are those of earlier attempts.
    return max(newest.step, logged), True


def _runs_elsewhere(plan: Plan, layout: PathLayout, totals: Totals) -> bool:
    """Return True if a trainer on another host may be alive.

    It is assumed to be while its last record is younger than the timeout after which a stuck trainer ends.
    """
    if last_host(layout.directory) in (None, socket.gethostname()):
        return False
    age = time.time() - (_seconds(totals.updated) or 0.0)
    return age < plan.config.launch.collective_timeout_minutes * 60


def _silence(layout: PathLayout, totals: Totals) -> float:
    """Return the seconds since a path's trainer has last written: a record, a logged step, or the lock."""
    signs = [_seconds(totals.updated) or 0.0]
    for file in (layout.metrics, layout.directory / "lock"):
        with suppress(FileNotFoundError):
            signs.append(file.stat().st_mtime)
    return max(0.0, time.time() - max(signs))


def _seconds(iso_time: str | None) -> float | None:
    """Return the time of a record as `time.time()` does."""
    return None if iso_time is None else datetime.fromisoformat(iso_time).timestamp()


def plan_status(plan: Plan) -> tuple[PathStatus, ...]:
    """Return the status of every path, parents before children."""
    return tuple(path_status(plan, path) for path in plan.graph.paths)


def begun_status(plan: Plan) -> tuple[PathStatus, ...]:
    """Return the status of every path that has a ledger, parents before children."""
    return tuple(path_status(plan, path) for path in _there(plan) if plan.layout.path(path.name).ledger.is_dir())


def _there(plan: Plan) -> Iterator[TrainingPath]:
    """Return the paths of the plan that have a directory, parents before children."""
    names = plan.layout.path_names()
    return (path for path in plan.graph.paths if path.name in names)


def saved_step(layout: PathLayout) -> int | None:
    """Return the lineage step of the newest complete checkpoint of a path; None if there is none."""
    if not layout.directory.exists():
        return None
    places = (layout.checkpoints, layout.branch_points)
    return max((c.step for place in places for c in complete_checkpoints(place)), default=None)


def intact_checkpoint(plan: Plan, name: str, step: int | None = None) -> Checkpoint:
    """Return the checkpoint of a path at `step`, or its newest intact one if that is None, after reading every byte.

    Raises ConfigError if the plan has no such path, CheckpointError if there is no such checkpoint or it is damaged,
    LineageError if the directory belongs to another plan.
    """
    check_run_dir(plan, plan.named_paths([name]))
    layout = plan.layout.path(name)
    if step is not None:
        found = find(layout, step)
        verify_checkpoint(found)
        return found
    newest, skipped = newest_intact(layout.checkpoints, layout.branch_points)
    if newest is None:
        where = located(layout.directory)
        missing = f"{where} has no intact checkpoint; train the path first, or restore a checkpoint from a copy"
        raise CheckpointError("\n  ".join((missing, *map(str, skipped))))
    return newest


def is_foreign(plan: Plan, path: TrainingPath) -> bool:
    """Return True if the path's directory belongs to another plan."""
    return _foreign(plan, path) is not None


def done_steps(plan: Plan) -> dict[str, int]:
    """Return name -> saved step, of the paths of this plan that have one."""
    saved = ((path, saved_step(plan.layout.path(path.name))) for path in _there(plan))
    return {path.name: step for path, step in saved if step is not None and not is_foreign(plan, path)}


def check_run_dir(plan: Plan, paths: Iterable[TrainingPath], *, rewinds: bool = True) -> None:
    """Raise LineageError if the directory of one of `paths` or of their ancestors belongs to another plan.

    rewinds: raise it also if a crash has cut a rewind of it short, so that states are in place that count no longer.
    """
    names = plan.layout.path_names()
    for ancestor in plan.graph.with_ancestors(paths):
        if ancestor.name in names and (error := _foreign(plan, ancestor)) is not None:
            raise error
        layout = plan.layout.path(ancestor.name)
        if rewinds and ancestor.amendments and unfinished(ancestor, read_ledger(layout.ledger, heartbeats=False)):
            at = ancestor.amendments[-1].at
            raise LineageError(
                f"{layout.directory}: its rewind to step {at} was cut short; `lrps run` completes it, and so does the "
                f"same `lrps rewind CONFIG {ancestor.name} --to {at}` again"
            )


def _foreign(plan: Plan, path: TrainingPath) -> LineageError | None:
    """Return an error that says why the path's directory belongs to another plan; None if it does not."""
    layout = plan.layout.path(path.name)
    if saved_step(layout) is None:
        return None  # Nothing was trained there.
    try:
        check_has_identity(layout)
        check_identity(layout.path_json, plan.identity(path), plan.config)
    except LineageError as error:
        return error
    return None


def check_has_identity(layout: PathLayout) -> None:
    """Raise LineageError if a directory with checkpoints has no path.json, which says what they are."""
    if not layout.path_json.exists():
        raise LineageError(f"{layout.directory}: has checkpoints but no path.json; restore it from a copy")


def missing_evaluations(plan: Plan, path: TrainingPath) -> dict[int, list[str]]:
    """Return step -> held-out sets without an evaluation in the ledger, for every state that the path releases.

    The last state of a probe's path is evaluated on all of them. An evaluation on other held-out rows than those of the
    plan counts as missing; versions without shards are left out. A state whose average is released counts under its
    step; released merges are left out (`missing_of_form`).
    """
    missing: dict[int, dict[str, None]] = {}
    for key in _missing(plan, path, _evaluated(plan, path)):
        if key.form != MERGE:
            missing.setdefault(key.step, {})[key.heldout] = None
    return {step: list(versions) for step, versions in missing.items()}


def missing_of_form(plan: Plan, path: TrainingPath, form: str) -> dict[Release, list[str]]:
    """Return release -> held-out versions without an evaluation, of the path's releases in this form of the weights."""
    missing = _missing(plan, path, _evaluated(plan, path))
    releases = (each for each in plan.graph.releases if (each.path, each.form) == (path.name, form))
    found = {each: [key.heldout for key in missing if (key.step, key.form) == (each.step, form)] for each in releases}
    return {release: versions for release, versions in found.items() if versions}


def unmade_merges(plan: Plan, path: TrainingPath) -> list[Release]:
    """Return the released merges of a path that have no held-out set and are not made.

    All others are made when they are evaluated.
    """
    return [
        release
        for release in plan.graph.releases
        if (release.path, release.form) == (path.name, MERGE)
        and not any(version in plan.heldout for version in plan.heldout_versions(release.version))
        and checkpoint_digest(plan, path.name, release.step, MERGE) is None
    ]


def missing_merges(plan: Plan, path: TrainingPath) -> dict[Release, list[str]]:
    """Return released merge -> held-out versions that it is still to be evaluated on; none if it only is to be made."""
    return {**{release: [] for release in unmade_merges(plan, path)}, **missing_of_form(plan, path, MERGE)}


def _evaluated(plan: Plan, path: TrainingPath) -> dict[EvaluationKey, HeldoutEvaluation]:
    return evaluations(read_ledger(plan.layout.path(path.name).ledger, heartbeats=False))


def _missing(plan: Plan, path: TrainingPath, done: dict[EvaluationKey, HeldoutEvaluation]) -> list[EvaluationKey]:
    """Return the evaluations that are missing, of all states that the path releases."""
    wanted = {
        EvaluationKey(release.step, version, release.form): (plan.heldout[version].sha256, plan.heldout_rows(version))
        for release in plan.graph.releases
        if release.path == path.name
        for version in plan.heldout_versions(release.version)
        if version in plan.heldout
    }
    if path.name in plan.graph.probed:
        ends = plan.all_heldout.items()
        wanted |= {EvaluationKey(path.stop, name): (source.sha256, plan.heldout_rows(name)) for name, source in ends}
    have = {key: (evaluation.manifest_sha256, evaluation.rows) for key, evaluation in done.items()}
    return [key for key, rows in wanted.items() if have.get(key) != rows]
