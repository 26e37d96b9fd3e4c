"""Where every path stands, as one JSON document: what `lrps status --json` prints and its tree and `--watch` show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from lrps.base.numbers import duration
from lrps.costs.measured_cost import measured_cost
from lrps.costs.remaining import Speeds, eta_seconds, eta_seconds_of_all, measured_speeds, steps_to_do, to_come
from lrps.paths.cost import peak_flops
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus

QUIET_LOG_INTERVALS = 10
QUIET_SECONDS = 60.0
"""A running path that has written nothing for this many log intervals, and at least this long, is worth a warning."""
QUIET_START_SECONDS = 300.0
"""The same before the first logged step, when the log interval is not known yet."""


def status_document(
    plan: Plan, statuses: Sequence[PathStatus], jobs: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The whole graph and every path of it, as JSON values; what cannot be known is null.

    Of a path: `step` of the newest checkpoint, `live_step` of the newest record, `loss` and `tokens_per_second` as
    last logged, `mfu`, `eta_seconds` while it runs, what it has cost (`measured`) and what it is going to (`to_come`).

    jobs: path -> {job_id, state, reason, trouble} of its newest job in Slurm; it is the path's `slurm`, else null.
    """
    speeds = measured_speeds(statuses)
    paths = [_path(plan, status, speeds, (jobs or {}).get(status.path.name)) for status in statuses]
    steps = sum(map(steps_to_do, statuses))
    return {
        "name": plan.config.name,
        "run_dir": str(plan.layout.run_dir),
        "currency": plan.costs.currency,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "state": _state([status.state for status in statuses]),
        "total_steps": plan.graph.total_steps,
        "eta_seconds": eta_seconds_of_all(statuses, speeds),
        "spent": _spent(plan, [path["measured"] for path in paths]),
        "to_come": to_come(plan, steps, speeds),
        "paths": paths,
    }


def _state(states: Sequence[str]) -> str:
    """complete | running | failed | waiting, of the graph: `waiting` for somebody to run the rest."""
    if all(state == "complete" for state in states):
        return "complete"
    return next((state for state in ("running", "failed") if state in states), "waiting")


def _spent(plan: Plan, measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    money = [each["money"] for each in measured if each["attempts"]]
    return {
        "device_hours": sum(each["device_hours"] for each in measured),
        "money": None if plan.costs.currency is None or None in money else sum(money),
    }


def _path(plan: Plan, status: PathStatus, speeds: Speeds, job: Mapping[str, Any] | None) -> dict[str, Any]:
    path = status.path
    return {
        "name": path.name,
        "job": path.kind,
        "parent": None if path.parent is None else {"path": path.parent.path, "step": path.parent.step},
        "state": status.state,
        "step": status.step,
        "live_step": status.live_step,
        "start_step": path.start,
        "stop_step": path.stop,
        "loss": status.recent[-1].loss if status.recent else None,
        "recent_losses": [metrics.loss for metrics in status.recent],
        "tokens_per_second": status.tokens_per_second,
        "mfu": _mfu(plan, status),
        "eta_seconds": eta_seconds(status, speeds),
        "updated": status.totals.updated,
        "slurm": None if job is None else dict(job),
        "warning": _warning(plan, status, job),
        "measured": asdict(measured_cost(plan, status.totals)),
        "to_come": to_come(plan, steps_to_do(status), speeds),
    }


def _mfu(plan: Plan, status: PathStatus) -> float | None:
    """Model FLOP/s over the peak of the processes' devices, as the config names them."""
    per_token, peak, processes = plan.costs.flops_per_token, peak_flops(plan.config.hardware), status.totals.processes
    if status.tokens_per_second is None or per_token is None or peak is None or not processes:
        return None
    return status.tokens_per_second * per_token / (processes * peak)


def _warning(plan: Plan, status: PathStatus, job: Mapping[str, Any] | None) -> str | None:
    if status.trouble is not None:
        return status.trouble
    if job is not None and job["trouble"] is not None and status.state not in ("running", "complete"):
        return str(job["trouble"])
    silent = status.silent_seconds
    if silent is None or silent <= _quiet_limit(plan, status.tokens_per_second):
        return None
    return f"no sign of life for {duration(silent)}"


def _quiet_limit(plan: Plan, tokens_per_second: float | None) -> float:
    if not tokens_per_second:
        return QUIET_START_SECONDS
    log_interval = plan.config.track.log_every_steps * plan.config.tokens_per_step / tokens_per_second
    return max(QUIET_SECONDS, QUIET_LOG_INTERVALS * log_interval)
