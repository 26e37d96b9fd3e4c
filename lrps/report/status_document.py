"""Where every path stands, as one JSON document: what `lrps status --json` prints and its tree shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lrps.ledger.reader import Totals
from lrps.plan import Plan
from lrps.status import PathStatus
from lrps.track.metrics import read_metrics


def status_document(plan: Plan, statuses: Sequence[PathStatus]) -> dict[str, Any]:
    """`paths`: name, state, step (of the newest checkpoint), parent, last loss and what the path has cost so far."""
    return {
        "name": plan.config.name,
        "run_dir": str(plan.layout.run_dir),
        "currency": plan.costs.currency,
        "paths": [_path(plan, status) for status in statuses],
    }


def _path(plan: Plan, status: PathStatus) -> dict[str, Any]:
    path = status.path
    metrics = read_metrics(plan.layout.path(path.name).metrics)
    return {
        "name": path.name,
        "job": path.job,
        "parent": None if path.parent is None else {"path": path.parent.path, "step": path.parent.step},
        "state": status.state,
        "step": status.step,
        "start_step": path.start,
        "stop_step": path.stop,
        "loss": metrics[-1].loss if metrics else None,
        "tokens_per_second": metrics[-1].tokens_per_second if metrics else None,
        "updated": status.totals.updated,
        "measured": measured_cost(plan, status.totals),
    }


def measured_cost(plan: Plan, totals: Totals) -> dict[str, Any]:
    """What the attempts of a path really cost. Money is null while the config has no price."""
    hours = totals.spent.allocated_seconds / 3600
    price = plan.costs.price_per_device_hour
    return {
        "attempts": totals.attempts,
        "device": totals.device,
        "processes": totals.processes,
        "total_steps": totals.useful_steps,
        "repeated_steps": totals.repeated_steps,
        "total_tokens": totals.useful_steps * plan.config.tokens_per_step,
        "spent_tokens": totals.spent.tokens,
        "spent_flops": totals.spent.flops if plan.costs.flops_per_token is not None else None,
        "device_hours": hours,
        "training_hours": totals.spent.training_seconds / 3600,
        "goodput": totals.goodput,
        "money": None if price is None else hours * price,
    }
