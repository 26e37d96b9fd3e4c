"""Status document: the state, speed and cost of every path, as `lrps status` prints and follows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from lrps.base.document import OPTIONAL, key
from lrps.base.numbers import duration
from lrps.costs.curves.measured_losses import states_of_path
from lrps.costs.forecasts.branch_alert import BranchAlert, branch_alerts
from lrps.costs.heldout_loss import HeldoutLoss, initial_heldout
from lrps.costs.measured_cost import MeasuredCost, measured_cost
from lrps.costs.planned.path_amendment import PathAmendment, path_amendments
from lrps.costs.planned.path_plan import ParentStep, parent_step
from lrps.costs.remaining import (
    RemainingCost,
    Speeds,
    eta_seconds,
    eta_seconds_of_all,
    measured_speeds,
    remaining_cost,
    steps_to_do,
)
from lrps.ledger.frequent_skips import frequent_skips_text
from lrps.paths.cost import mfu, peak_flops
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus

QUIET_LOG_INTERVALS = 10
QUIET_SECONDS = 60.0
"""A running path that has written nothing for this many log intervals, and at least this long, gets a warning."""
QUIET_START_SECONDS = 300.0
"""The same before the first logged step, when the duration of a log interval is not known yet."""


@dataclass(frozen=True)
class SlurmJob:
    """Newest Slurm job of a path."""

    job_id: str
    """Number of the job."""
    state: str | None
    """State as Slurm names it, PENDING for example; null if Slurm does not know the job any more."""
    reason: str | None
    """Reason that Slurm gives for the state."""
    trouble: str | None
    """Description of how the job failed; null if it did not."""


@dataclass(frozen=True)
class StateLosses:
    """Losses of one state on held-out sets."""

    step: int
    """Lineage step of the state."""
    losses: Mapping[str, float]
    """Loss in nats per predicted token, by the version of the held-out set."""


@dataclass(frozen=True)
class PathProgress:
    """State, speed and cost of a path. What is not known is null."""

    name: str
    """Name of the path."""
    kind: str = field(metadata=key("job"))
    """Kind of the path: main, branch, ptfs, cpt, wsd-s or probe."""
    parent: ParentStep | None
    """State that the path starts from; null for the initial weights."""
    state: str
    """planned, running, interrupted, failed, trained, complete or foreign (lrps/plan/status.py)."""
    step: int
    """Lineage step of the newest complete checkpoint."""
    live_step: int
    """Lineage step of the newest record."""
    start_step: int
    """Lineage step at which the path starts."""
    stop_step: int
    """Lineage step at which the path ends."""
    loss: float | None
    """Newest logged training loss, in nats per token."""
    recent_losses: tuple[float, ...]
    """Last logged training losses, oldest first."""
    tokens_per_second: float | None
    """Newest logged speed."""
    mfu: float | None
    """Model FLOP/s over the peak FLOP/s of the devices that the config names."""
    eta_seconds: float | None
    """Seconds to the last step; null unless the path is running."""
    updated: str | None
    """Time of the newest record, in ISO 8601."""
    slurm: SlurmJob | None
    """Newest Slurm job; null if there is none."""
    warning: str | None
    """Description of a problem; null if there is none."""
    measured: MeasuredCost
    """Cost of all attempts so far."""
    to_come: RemainingCost
    """Cost of the steps that are not trained yet."""
    confirmed_step: int | None = field(default=None, metadata=OPTIONAL)
    """Lineage step of the newest confirmed state that was saved (docs/steering.md); null if there is none."""
    newest_heldout: StateLosses | None = field(default=None, metadata=OPTIONAL)
    """Losses of the last evaluated state of a main path; null for other paths and before its first evaluation."""
    amendments: tuple[PathAmendment, ...] = field(default=(), metadata=OPTIONAL)
    """Amendments by `lrps rewind`, oldest first (docs/steering.md)."""
    off_forecast: str | None = field(default=None, metadata=OPTIONAL)
    """Description of how a branch has left the forecast that stood when it started; null if it has not."""


@dataclass(frozen=True)
class SpentCost:
    """Cost of all attempts at all paths."""

    device_hours: float
    """Allocated device-hours."""
    money: float | None
    """Price of the device-hours; null without a price."""


@dataclass(frozen=True)
class StatusDocument:
    """Status of a plan and of every path of it. What is not known is null."""

    FORMAT: ClassVar[str] = "lrps-status/1"

    name: str
    """Name of the plan."""
    run_dir: str
    """Directory of the run."""
    currency: str | None
    """Currency of all prices; null without a price in the config."""
    time: str
    """Time at which the run was read, in ISO 8601."""
    state: str
    """complete, running or failed if a path is; else waiting for somebody to run the rest."""
    total_steps: int
    """Optimizer steps of all paths, shared ones once."""
    eta_seconds: float | None
    """Seconds to the last step of all paths, with as many process groups as now."""
    spent: SpentCost
    """Cost of all attempts so far."""
    to_come: RemainingCost
    """Cost of the steps that are not trained yet."""
    initial_heldout: Mapping[str, HeldoutLoss] | None = field(metadata=OPTIONAL)
    """Losses of the model that the plan starts from, by the version of the held-out set, as far as they were measured;
    null for weights that are drawn from the seed."""
    paths: tuple[PathProgress, ...]
    """Paths of the graph, parents before children."""
    without_heldout: tuple[str, ...] = field(default=(), metadata=OPTIONAL)
    """Versions that hold out no whole sequence, on which all losses are n/a."""


def status_document(
    plan: Plan, statuses: Sequence[PathStatus], jobs: Mapping[str, SlurmJob] | None = None
) -> StatusDocument:
    """Return the status of a plan. jobs: newest Slurm job of a path, by the name of the path."""
    speeds = measured_speeds(statuses)
    alerts = branch_alerts(plan, statuses)
    paths = tuple(
        _path(plan, status, speeds, (jobs or {}).get(status.path.name), alerts.get(status.path.name))
        for status in statuses
    )
    return StatusDocument(
        name=plan.config.name,
        run_dir=str(plan.layout.run_dir),
        currency=plan.costs.currency,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        state=_state([status.state for status in statuses]),
        total_steps=plan.graph.total_steps,
        eta_seconds=eta_seconds_of_all(statuses, speeds),
        spent=_spent(plan, [path.measured for path in paths]),
        to_come=remaining_cost(plan, sum(map(steps_to_do, statuses)), speeds),
        initial_heldout=initial_heldout(plan, statuses),
        paths=paths,
        without_heldout=plan.without_heldout,
    )


def _state(states: Sequence[str]) -> str:
    if all(state == "complete" for state in states):
        return "complete"
    return next((state for state in ("running", "failed") if state in states), "waiting")


def _spent(plan: Plan, measured: Sequence[MeasuredCost]) -> SpentCost:
    money = [each.money for each in measured if each.attempts]
    known = [each for each in money if each is not None]
    return SpentCost(
        device_hours=sum(each.device_hours for each in measured),
        money=sum(known) if plan.costs.currency is not None and len(known) == len(money) else None,
    )


def _path(
    plan: Plan, status: PathStatus, speeds: Speeds, job: SlurmJob | None, alert: BranchAlert | None
) -> PathProgress:
    path = status.path
    return PathProgress(
        name=path.name,
        kind=path.kind,
        parent=parent_step(path.parent),
        state=status.state,
        step=status.step,
        live_step=status.live_step,
        start_step=path.start,
        stop_step=path.stop,
        loss=status.recent[-1].loss if status.recent else None,
        recent_losses=tuple(metrics.loss for metrics in status.recent),
        tokens_per_second=status.tokens_per_second,
        mfu=_mfu(plan, status),
        eta_seconds=eta_seconds(status, speeds),
        updated=status.totals.updated,
        slurm=job,
        warning=_warning(plan, status, job),
        measured=measured_cost(plan, status.totals),
        to_come=remaining_cost(plan, steps_to_do(status), speeds),
        confirmed_step=status.confirmed_step,
        newest_heldout=_newest_heldout(status) if path.kind == "main" else None,
        amendments=path_amendments(path),
        off_forecast=None if alert is None else str(alert),
    )


def _newest_heldout(status: PathStatus) -> StateLosses | None:
    found = list(states_of_path(status))
    if not found:
        return None
    step = found[-1].step
    return StateLosses(step, {each.heldout: each.loss for each in found if each.step == step})


def _mfu(plan: Plan, status: PathStatus) -> float | None:
    peak, processes = peak_flops(plan.config.hardware), status.totals.processes
    of_all = peak * processes if peak is not None and processes else None
    return mfu(status.tokens_per_second, plan.costs.flops_per_token, of_all)


def _warning(plan: Plan, status: PathStatus, job: SlurmJob | None) -> str | None:
    if status.trouble is not None:
        return status.trouble
    if status.failure is not None:
        return status.failure
    if job is not None and job.trouble is not None and status.state not in ("running", "complete"):
        return job.trouble
    if number := status.totals.frequent_skips:
        return frequent_skips_text(number, status.path.name)
    if status.other_parent is not None:
        return f"{status.other_parent}: `lrps data audit` has the details"
    silent = status.silent_seconds
    if silent is None or silent <= _quiet_limit(plan, status.tokens_per_second):
        return None
    return f"no sign of life for {duration(silent)}"


def _quiet_limit(plan: Plan, tokens_per_second: float | None) -> float:
    if not tokens_per_second:
        return QUIET_START_SECONDS
    log_interval = plan.config.track.log_every_steps * plan.config.tokens_per_step / tokens_per_second
    return max(QUIET_SECONDS, QUIET_LOG_INTERVALS * log_interval)
