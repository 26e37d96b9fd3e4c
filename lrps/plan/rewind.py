"""Taking a path back to one of its saved states, with an amendment for the steps that follow: `lrps rewind`.

Three acts, in this order: path.json gets the amendment, and from here on the plan is amended; the states beyond the
step move to `abandoned/<number of the amendment>`, each by a rename; the ledger and the metrics say so. Whoever finds
an amendment without its record in the ledger completes the other acts, so that a crash between any two of them leads
to the same outcome. Nothing is deleted. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from lrps.base.errors import CheckpointError, ConfigError, LedgerError, LineageError
from lrps.base.files import atomic_write_json
from lrps.base.locks import path_lock
from lrps.ledger.metrics import MetricsWriter
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import FORMAT, Counters, Record
from lrps.ledger.totals import REWIND, Totals, total
from lrps.ledger.writer import write_attempt
from lrps.paths.amendments import Amendment, in_force
from lrps.paths.graph import TrainingPath
from lrps.plan.histories import unfinished
from lrps.plan.plan import Plan
from lrps.plan.recovery import path_states
from lrps.plan.status import check_run_dir, path_status
from lrps.store.abandoned import abandon, has_states
from lrps.store.checkpoints import Checkpoint, complete_checkpoints, fault
from lrps.store.identity import path_from_json, path_to_json, read_identity, read_path
from lrps.store.layout import PathLayout

_PER_ATTEMPT = ("path_digest", "slurm", "impossible_start_seconds", "origin", "skipped", "doubtful")
"""Facts of a start record that are not those of the next attempt."""


@dataclass(frozen=True)
class AffectedPath:
    """A path that forks beyond the step that its parent is taken back to."""

    path: TrainingPath
    begun: bool
    """True if it has saved a state and therefore keeps its history; False if it will fork from the new one."""


@dataclass(frozen=True)
class Rewind:
    """Effects of taking a path back, before or after it is done."""

    path: TrainingPath
    amendment: Amendment
    number: int
    """Number of the amendment, from 1."""
    states: tuple[Checkpoint, ...]
    """States beyond the step, which are moved."""
    abandoned_steps: int
    """Number of steps that count no longer."""
    abandoned_seconds: float
    """Device-seconds that they took."""
    affected: tuple[AffectedPath, ...]
    done: bool = False
    """True if the path is taken back like this already."""


def preview_rewind(plan: Plan, name: str, amendment: Amendment) -> Rewind:
    """Return what `rewind` would do. Changes nothing.

    Raises ConfigError for an amendment that makes no sense, CheckpointError for a step without an intact state,
    LineageError if the path is being trained or its directory belongs to another plan.
    """
    (path,) = plan.named_paths([name])
    check_run_dir(plan, [path], rewinds=False)
    if path_status(plan, path).state == "running":
        raise LineageError(f"{plan.layout.path(name).directory}: is being trained; wait for it, or stop it")
    return _examine(plan, path, amendment)


def _examine(plan: Plan, path: TrainingPath, amendment: Amendment) -> Rewind:
    """Return what taking a path back does. Raises as `preview_rewind` does, but for a path that is being trained."""
    name, layout = path.name, plan.layout.path(path.name)
    records = tuple(read_ledger(layout.ledger))  # With all heartbeats, so that the time of abandoned steps is exact.
    last = path.amendments[-1] if path.amendments else None
    newest = records[-1].facts.get("outcome") if records else None
    if last is not None and last.changed == amendment.changed and (newest == "rewound" or unfinished(path, records)):
        affected = _affected(plan, name, last.at)
        return Rewind(path, last, len(path.amendments), (), 0, 0.0, affected, done=not unfinished(path, records))
    _check_amendment(path, amendment)
    if amendment.at != path.start or not _states(layout):  # At its start a path needs no state of its own.
        _check_state(layout, name, amendment.at, path_states(name, plan.layout).doubtful)
    if not records:
        raise LedgerError(f"{layout.ledger}: {name} was trained and has no ledger; restore it from a copy first")
    beyond = {each.step: each for each in _states(layout) if each.step > amendment.at}
    states = tuple(beyond[step] for step in sorted(beyond))
    steps, seconds = _abandoned(records, amendment.at)
    ended = any(each.at >= amendment.at and any(each.changed[1:]) for _, each in in_force(path.amendments))
    if not (states or steps or ended or any(amendment.changed[1:])):
        raise ConfigError(f"{name} is at step {amendment.at}: the rewind would change nothing; say what shall change")
    affected = _affected(plan, name, amendment.at)
    return Rewind(path, amendment, len(path.amendments) + 1, states, steps, seconds, affected)


def rewind(plan: Plan, name: str, amendment: Amendment) -> Rewind:
    """Take a path back to a saved state, and return what was done. Repeatable: raises as `preview_rewind` does."""
    preview_rewind(plan, name, amendment)
    layout = plan.layout.path(name)
    with path_lock(layout.directory, "rewound"):
        finish_rewind(layout)
        plan = replace(plan)  # Its graph is that of the run directory as it is under the lock.
        found = _examine(plan, plan.graph.by_name[name], amendment)
        if not found.done:
            when = datetime.now(UTC).isoformat(timespec="seconds")
            _record(layout, replace(amendment, when=when))
            finish_rewind(layout)
        return found


def finish_rewind(layout: PathLayout) -> None:
    """Complete every rewind of a path that a crash has cut short. The caller has the lock of the path."""
    path = read_path(layout.path_json)
    if path is None or not path.amendments:
        return
    records = tuple(read_ledger(layout.ledger, heartbeats=False))
    if not records:
        raise LedgerError(
            f"{layout.ledger}: {path.name} was taken back and has no ledger; complete the copy (`lrps pull`)"
        )
    for number in unfinished(path, records):
        amendment = path.amendments[number - 1]
        abandon(layout, amendment.at, number)
        metrics = MetricsWriter(layout.metrics)
        metrics.rewind(amendment.at)
        metrics.close()
        _book(layout, records, number, amendment)


def finish_rewinds(plan: Plan) -> None:
    """Complete what crashes have left undone in the directories of a plan's paths, each under its lock."""
    for path in plan.graph.paths:
        layout = plan.layout.path(path.name)
        if path.amendments and unfinished(path, read_ledger(layout.ledger, heartbeats=False)):
            with path_lock(layout.directory, "rewound"):
                finish_rewind(layout)


def _record(layout: PathLayout, amendment: Amendment) -> None:
    """Append an amendment to path.json."""
    values = read_identity(layout.path_json)
    path = path_from_json(values["path"])
    path = replace(path, amendments=(*path.amendments, amendment))
    atomic_write_json(layout.path_json, {**values, "path": path_to_json(path)})


def _book(layout: PathLayout, records: Iterable[Record], number: int, amendment: Amendment) -> None:
    """Record a rewind in the ledger, as an attempt that trains nothing on the devices of the one before."""
    start = [record for record in records if record.kind == "start"][-1]
    facts = {key: value for key, value in start.facts.items() if key not in _PER_ATTEMPT} | {"format": FORMAT}
    if isinstance(fork := facts.get("parent"), dict):
        facts["parent"] = {key: value for key, value in fork.items() if key != "digest"}
    states = sorted({each.step: each.digest for each in _states(layout.abandoned(number))}.items())
    done: dict[str, Any] = {"to": amendment.at, "amendment": number, "abandoned": [list(each) for each in states]}
    if amendment.reason:
        done["reason"] = amendment.reason
    write_attempt(
        layout.ledger,
        [
            ("start", amendment.at, {**facts, "origin": REWIND, "skipped": []}),
            (REWIND, amendment.at, done),
            ("stop", amendment.at, {"outcome": "rewound"}),
        ],
    )


def _states(layout: PathLayout) -> tuple[Checkpoint, ...]:
    """Return the complete checkpoints of a layout, pinned ones last."""
    return (*complete_checkpoints(layout.checkpoints), *complete_checkpoints(layout.branch_points))


def _check_state(layout: PathLayout, name: str, step: int, doubtful: Collection[int]) -> None:
    """Raise CheckpointError unless the path has an intact state of a step. doubtful: steps that may be broken."""
    states = _states(layout)
    here = [each for each in states if each.step == step]
    damage = [found for each in here if (found := fault(each)) is not None]
    intact = len(damage) < len(here)
    if intact and step not in doubtful:
        return
    steps = sorted({each.step for each in states} - {step, *doubtful})
    near = [*[each for each in steps if each < step][-2:], *[each for each in steps if each > step][:2]]
    there = f"the nearest saved ones are {', '.join(map(str, near))}" if near else "it has no other saved state"
    if intact:
        what = f"its state of step {step} may be broken, because a step soon after it failed"
    else:
        what = (
            f"its state of step {step} is damaged ({damage[0]})" if damage else f"it has no saved state of step {step}"
        )
    raise CheckpointError(f"{name} cannot be taken back to step {step}: {what}; {there}")


def _check_amendment(path: TrainingPath, amendment: Amendment) -> None:
    """Raise ConfigError for values that make no sense."""
    numbers = {"--peak-lr": amendment.peak_lr, "--clip-grad-norm": amendment.clip_grad_norm}
    for option, value in numbers.items():
        if value is not None and not (isfinite(value) and value > 0):
            raise ConfigError(f"{option} {value}: must be a number above 0")
    if amendment.for_steps is not None and amendment.peak_lr is None:
        raise ConfigError("--for-steps is the length of --peak-lr: give both, or neither")
    if amendment.for_steps is not None and amendment.for_steps < 1:
        raise ConfigError(f"--for-steps {amendment.for_steps}: must be at least 1")
    if amendment.skip < 0 or (amendment.skip == 0 and amendment.skip_from is not None):
        raise ConfigError("--skip-from is the first of --skip-steps: give a number of steps of at least 1")
    skipped = amendment.skipped
    if amendment.skip and not amendment.at <= skipped.start < skipped.stop <= path.stop:
        raise ConfigError(
            f"steps {skipped.start} to {skipped.stop - 1} cannot be skipped: {path.name} trains steps {amendment.at} "
            f"to {path.stop - 1} after the rewind"
        )


def _abandoned(records: Iterable[Record], step: int) -> tuple[int, float]:
    """Return the number of steps, and their device-seconds, that taking a path back to `step` abandons."""
    known = tuple(records)
    then = Record(REWIND, step, known[-1].time if known else "", Counters(), {"to": step}, "")
    before, after = total(known), _totals_with(known, then)
    return before.useful_steps - after.useful_steps, after.abandoned_seconds - before.abandoned_seconds


def _totals_with(records: tuple[Record, ...], rewound: Record) -> Totals:
    """Return the totals of a ledger as they would be after a rewind."""
    starts = [record for record in records if record.kind == "start"]
    return total(
        [*records, *(start._replace(step=rewound.step, counters=Counters()) for start in starts[-1:]), rewound]
    )


def _affected(plan: Plan, name: str, step: int) -> tuple[AffectedPath, ...]:
    """Return the paths that fork from a path beyond a step, those of the run directory that the plan lacks as well."""
    known = {**plan.existing, **plan.graph.by_name}
    children = (path for path in known.values() if path.parent is not None and path.parent.path == name)
    return tuple(AffectedPath(path, has_states(plan.layout.path(path.name))) for path in children if path.start > step)


def check_amendments(plan: Plan, path: TrainingPath) -> None:
    """Raise LineageError if the path or an ancestor was taken back since the plan was made: its rates are outdated."""
    for each in plan.graph.with_ancestors([path]):
        stored = read_path(plan.layout.path(each.name).path_json)
        if stored is not None and stored.amendments != each.amendments:
            raise LineageError(
                f"{each.name} was taken back with `lrps rewind` while this command started; run the same command again"
            )
