"""The comparison of the paradigms: what was planned beside what the ledgers measured, and the loss that it bought.

One JSON document; tables, figures and the page draw it. A value that was not measured (yet) is null, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

from lrps import __version__
from lrps.ledger.reader import read_ledger, total, until
from lrps.paths.graph import Paradigm, Path
from lrps.paths.paradigms import compile_paradigm
from lrps.plan import Plan
from lrps.report.plan_document import plan_document
from lrps.report.status_document import measured_cost
from lrps.status import PathStatus, plan_status
from lrps.track.metrics import read_metrics

_SUMMED = (
    "attempts",
    "total_steps",
    "repeated_steps",
    "total_tokens",
    "spent_tokens",
    "spent_flops",
    "device_hours",
    "training_hours",
    "money",
)


def comparison_document(plan: Plan) -> dict[str, Any]:
    """The plan document with `measured` beside every total and path, and the evaluations of every release.

    A path that paradigms share counts in each of them (what the paradigm costs alone) and once in `graph`.
    """
    statuses = {status.path.name: status for status in plan_status(plan)}
    measured = {path.name: _measured(plan, path, statuses[path.name]) for path in plan.graph.paths}
    versions = [increment.version for increment in plan.increments]
    document = plan_document(plan, {name: status.step for name, status in statuses.items()})
    for paradigm in plan.graph.paradigms:
        described = document["paradigms"][paradigm.name]
        costs = measured | {path.name: _measured(plan, path, statuses[path.name]) for path in paradigm.paths}
        described["measured"] = _sum(costs, (path.name for path in paradigm.paths))
        described["complete"] = all(statuses[path.name].state == "complete" for path in paradigm.paths)
        described["cumulative_steps"] = _cumulative_steps(plan, paradigm)
        described["releases"] = [
            _release(release, statuses[release["path"]], versions) for release in described["releases"]
        ]
        for path in described["paths"]:
            path["state"] = statuses[path["name"]].state
            path["measured"] = costs[path["name"]]
    _compare_measured(document["paradigms"])
    document["graph"]["measured"] = _sum(measured, statuses)
    document["curves"] = {path.name: _curve(plan, path) for path in plan.graph.paths}
    document["updated"] = max((s.totals.updated for s in statuses.values() if s.totals.updated), default=None)
    price = plan.config.hardware.price_per_device_hour if plan.config.hardware else None
    document["price"] = None if price is None else price.model_dump(mode="json")
    document["lrps"] = __version__
    return document


def _sum(measured: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any] | None:
    """The costs of several paths; None while none of them has begun."""
    parts = [measured[name] for name in names if measured[name]["attempts"]]
    if not parts:
        return None
    sums = {key: None if any(p[key] is None for p in parts) else sum(p[key] for p in parts) for key in _SUMMED}
    productive = sum((part["goodput"] or 0) * part["device_hours"] for part in parts)
    return {
        **sums,
        "goodput": productive / sums["device_hours"] if sums["device_hours"] else None,
        "device": ", ".join(sorted({part["device"] for part in parts})),
        "processes": max(part["processes"] for part in parts),
    }


def _measured(plan: Plan, path: Path, status: PathStatus) -> dict[str, Any]:
    """What a path cost up to its own end: a shared main path goes further in another paradigm or another plan."""
    if status.totals.last_step <= path.stop:
        return measured_cost(plan, status.totals)
    ledger = read_ledger(plan.layout.path(path.name).ledger)
    return measured_cost(plan, total(until(ledger, path.stop)))


def _cumulative_steps(plan: Plan, paradigm: Paradigm) -> dict[str, int]:
    """version -> steps that all versions up to it take together, had the paradigm ended there."""
    counts = range(1, len(plan.increments) + 1)
    # What is rehearsed changes no number of steps.
    totals = (compile_paradigm(plan.config, paradigm.name, plan.increments[:n]).total_steps for n in counts)
    return {increment.version: steps for increment, steps in zip(plan.increments, totals, strict=True)}


def _release(release: Mapping[str, Any], status: PathStatus, versions: list[str]) -> dict[str, Any]:
    """A released version with its loss on every held-out set that it was evaluated on, and the mean over the sets
    of all versions up to its own (null while one is missing)."""
    heldout = {
        version: {key: value for key, value in asdict(evaluation).items() if key not in ("step", "heldout")}
        for (step, version), evaluation in status.evaluations.items()
        if step == release["step"]
    }
    seen = versions[: versions.index(release["version"]) + 1]
    losses = [heldout[version]["loss"] for version in seen if version in heldout]
    return {**release, "heldout": heldout, "seen_loss": sum(losses) / len(losses) if len(losses) == len(seen) else None}


def _compare_measured(paradigms: dict[str, Any]) -> None:
    """Set measured ratios to the first PTFS and CPT of the config, where both sides were measured to the end."""
    for kind, key in (("ptfs", "measured_ratio_to_ptfs"), ("cpt", "measured_ratio_to_cpt")):
        base = next((hours for p in paradigms.values() if p["kind"] == kind and (hours := _training_hours(p))), None)
        for paradigm in paradigms.values():
            hours = _training_hours(paradigm)
            paradigm[key] = hours / base if hours and base else None


def _training_hours(paradigm: Mapping[str, Any]) -> float | None:
    """Measured to the end, or None; checkpoints without their ledger are not measured."""
    return paradigm["measured"]["training_hours"] if paradigm["complete"] and paradigm["measured"] else None


def _curve(plan: Plan, path: Path) -> dict[str, Any]:
    """What the figures draw of a path: its learning rate at some steps, and its training loss."""
    edges = {path.start, path.stop}
    for piece in path.schedule.clipped(path.start, path.stop):
        begin, end = max(piece.start, path.start), min(piece.stop or path.stop, path.stop)
        edges |= {begin, max(begin, end - 1), end}  # a fall between two pieces takes one step, not a slope
    points = sorted(edges | set(range(path.start, path.stop, max(1, path.steps // 64))))
    metrics = [m for m in read_metrics(plan.layout.path(path.name).metrics) if isfinite(m.loss)]
    return {
        "parent": path.parent.path if path.parent else None,
        "steps": points,
        "lr": [path.schedule.lr_at(step) for step in points[:-1]] + [path.lr_stop],
        "loss_steps": [m.step for m in metrics],
        "loss": [m.loss for m in metrics],
    }
