"""The comparison of the paradigms: what was planned beside what the ledgers measured, and the loss that it bought.

One JSON document; tables, figures and the page draw it. A value that was not measured (yet) is null, never a guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from math import isfinite
from typing import Any

from lrps import __version__
from lrps.config.strategies import Mixing, PathSwitching
from lrps.costs.document import to_json
from lrps.costs.estimate import Sample, estimate, samples_of
from lrps.costs.plan_document import plan_document
from lrps.costs.provenance import provenance
from lrps.costs.rehearsal_cost import rehearsal_cost
from lrps.costs.version_costs import ParadigmCosts, PathCost, paradigm_costs, path_cost
from lrps.costs.version_matrix import matrices
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import read_ledger
from lrps.ledger.records import Record
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.plan.scores import Score, newest_scores
from lrps.plan.status import PathStatus, plan_status
from lrps.plan.tasks import tasks_of

_SUMMED = (
    "attempts",
    "total_steps",
    "repeated_steps",
    "total_tokens",
    "spent_tokens",
    "unique_tokens",
    "replayed_tokens",
    "rehearsal_tokens",
    "repeated_tokens",
    "spent_flops",
    "device_hours",
    "training_hours",
    "productive_hours",
    "money",
    "energy_kwh",
)


def comparison_document(plan: Plan, elsewhere: Sequence[Sample] = ()) -> dict[str, Any]:
    """The plan document with `measured` beside every total and path, and the evaluations of every release.

    A path that paradigms share counts in each of them (what the paradigm costs alone) and once in `graph`. What
    versions cost is in the `cost` of the releases: {marginal, shared, lineage} (paths/attribution.py), each {steps,
    tokens, flops, device_hours, training_hours, money, energy_kwh, basis}; what belongs to none in `unreleased`.
    What versions keep of each other's data is in `matrices` (version_matrix.py). What writing rehearsal sets has cost
    is in `rehearsal_cost` (rehearsal_cost.py), and in nothing else.
    Where a paradigm was not trained to its end, `estimate` is what all of it is going to cost, by the model in
    `cost_model` (estimate.py).
    elsewhere: what other runs measured, for a run that measured nothing.
    """
    statuses = {status.path.name: status for status in plan_status(plan)}
    ledgers = _ledgers(plan, statuses)
    whole = {path.name: _path_cost(plan, path, statuses, ledgers) for path in plan.graph.paths}
    versions = [increment.version for increment in plan.increments]
    document = to_json(plan_document(plan, {name: status.step for name, status in statuses.items()}))
    del document["format"]  # this one is another document
    model = estimate(plan, samples_of(plan, ledgers), elsewhere)
    document["tasks"], scores = tasks_of(plan.config.evaluation), newest_scores(plan)
    for paradigm in plan.graph.paradigms:
        described = document["paradigms"][paradigm.name]
        costs = {path.name: _path_cost(plan, path, statuses, ledgers) for path in paradigm.paths}
        described["measured"] = _sum({name: cost.measured() for name, cost in costs.items()}, costs)
        described |= _rows_read(plan, paradigm.name)
        described["complete"] = all(statuses[path.name].state == "complete" for path in paradigm.paths)
        described["releases"] = [
            _release(release, statuses[release["path"]], versions, scores.get((release["path"], release["step"]), {}))
            for release in described["releases"]
        ]
        described["matrices"] = matrices(versions, described["releases"], document["tasks"])
        _describe_costs(described, paradigm_costs(paradigm, costs, model))
        for path in described["paths"]:
            path["state"] = statuses[path["name"]].state
            path["measured"] = costs[path["name"]].measured()
    _compare_measured(document["paradigms"])
    document["graph"]["measured"] = _sum({name: cost.measured() for name, cost in whole.items()}, statuses)
    document["cost_model"] = model.as_json()
    document["rehearsal_cost"] = rehearsal_cost(plan)
    document["curves"] = {path.name: _curve(plan, path) for path in plan.graph.paths}
    document["updated"] = max((s.totals.updated for s in statuses.values() if s.totals.updated), default=None)
    price = plan.config.hardware.price_per_device_hour if plan.config.hardware else None
    document["price"] = None if price is None else price.model_dump(mode="json")
    document["lrps"] = __version__
    document["provenance"] = provenance(plan, [cost.totals for cost in whole.values()])
    return document


def measured_samples(plan: Plan) -> tuple[Sample, ...]:
    """What a run measured, for others that are compared with it."""
    return samples_of(plan, _ledgers(plan, {status.path.name: status for status in plan_status(plan)}))


def _ledgers(plan: Plan, statuses: Mapping[str, PathStatus]) -> dict[str, tuple[Record, ...]]:
    """path -> its records; none of a path that is not begun, or whose directory is another plan's."""
    begun = {name for name, status in statuses.items() if status.totals.attempts}
    return {name: tuple(read_ledger(plan.layout.path(name).ledger)) if name in begun else () for name in statuses}


def _path_cost(
    plan: Plan, path: TrainingPath, statuses: Mapping[str, PathStatus], ledgers: Mapping[str, tuple[Record, ...]]
) -> PathCost:
    return path_cost(plan, path, statuses[path.name], ledgers[path.name])


def _rows_read(plan: Plan, paradigm: str) -> dict[str, Any]:
    """What the config says of the rows: `mix`, version -> its shares, and `branch_data`; null where a paradigm has
    none."""
    strategy = plan.config.paradigms[paradigm]
    mix = None
    if isinstance(strategy, Mixing):
        mix = {i.version: strategy.mix_of(i.version).model_dump() for i in plan.increments}
    return {
        "mix": mix,
        "branch_data": strategy.branch_data if isinstance(strategy, PathSwitching) else None,
    }


def _describe_costs(described: dict[str, Any], costs: ParadigmCosts) -> None:
    described["estimate"] = costs.whole.as_json() if costs.whole.modelled else None
    described["unreleased"] = None if costs.unreleased is None else costs.unreleased.as_json()
    marginal = accumulate(int(of_version["marginal"].steps) for of_version in costs.releases.values())
    described["cumulative_steps"] = dict(zip(costs.releases, marginal, strict=True))
    for release in described["releases"]:
        release["cost"] = {key: cost.as_json() for key, cost in costs.releases[release["version"]].items()}


def _sum(measured: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> dict[str, Any] | None:
    """The costs of several paths; None while none of them has begun."""
    parts = [measured[name] for name in names if measured[name]["attempts"]]
    if not parts:
        return None
    sums = {key: None if any(p[key] is None for p in parts) else sum(p[key] for p in parts) for key in _SUMMED}
    uses = Counter[str]()
    for part in parts:
        uses.update(part["device_hours_by_use"])
    return {
        **sums,
        "device_hours_by_use": dict(uses),
        "goodput": sums["productive_hours"] / sums["device_hours"] if sums["device_hours"] else None,
        "money_basis": ", ".join(sorted({part["money_basis"] for part in parts if part["money_basis"]})) or None,
        "device": ", ".join(sorted({part["device"] for part in parts})),
        "processes": max(part["processes"] for part in parts),
    }


def _release(
    release: Mapping[str, Any], status: PathStatus, versions: list[str], scores: Mapping[str, Score]
) -> dict[str, Any]:
    """A released version with its loss on every held-out set that it was evaluated on, the mean over the sets of all
    versions up to its own (null while one is missing), and what it scored on tasks."""
    heldout = {
        version: {key: value for key, value in asdict(evaluation).items() if key not in ("step", "heldout")}
        for (step, version), evaluation in status.evaluations.items()
        if step == release["step"]
    }
    seen = versions[: versions.index(release["version"]) + 1]
    losses = [heldout[version]["loss"] for version in seen if version in heldout]
    return {
        **release,
        "heldout": heldout,
        "seen_loss": sum(losses) / len(losses) if len(losses) == len(seen) else None,
        "scores": {task: _scored(score) for task, score in scores.items()},
    }


def _scored(score: Score) -> dict[str, Any]:
    return {"results": {metric: asdict(result) for metric, result in score.results.items()}, "examples": score.examples}


def _compare_measured(paradigms: dict[str, Any]) -> None:
    """Set measured ratios to the first PTFS and CPT of the config, where both sides were measured to the end: of
    training time, and of all device-hours held."""
    for of, hours in (("measured_ratio_to", "training_hours"), ("measured_held_ratio_to", "device_hours")):
        measured = {name: _measured_hours(paradigm, hours) for name, paradigm in paradigms.items()}
        for kind in ("ptfs", "cpt"):
            base = next((measured[name] for name, p in paradigms.items() if p["kind"] == kind and measured[name]), None)
            for name, paradigm in paradigms.items():
                mine = measured[name]
                paradigm[f"{of}_{kind}"] = mine / base if mine and base else None


def _measured_hours(paradigm: Mapping[str, Any], hours: str) -> float | None:
    """Measured to the end, or None; checkpoints without their ledger are not measured."""
    return paradigm["measured"][hours] if paradigm["complete"] and paradigm["measured"] else None


def _curve(plan: Plan, path: TrainingPath) -> dict[str, Any]:
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
