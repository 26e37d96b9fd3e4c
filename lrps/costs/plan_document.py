"""A plan as one JSON document: what `lrps plan --json` prints and plan.json holds, and what its tables show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from lrps.base.files import atomic_write_json
from lrps.costs.interval_document import interval_document
from lrps.costs.memory_document import memory_document
from lrps.paths.cost import cpt_steps, ptfs_steps
from lrps.paths.graph import Graph, Paradigm, TrainingPath
from lrps.paths.increments import Increment, RehearsalSet
from lrps.paths.paradigms.compile import compile_graph
from lrps.paths.usage import usage
from lrps.plan.plan import Plan

NEXT = "(next)"
"""Stands for a version that is not in the config; no version of a config can have this name."""


def plan_document(plan: Plan, done_steps: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Everything a plan says, as JSON values.

    done_steps: path name -> lineage step that exists already; it turns totals into what is still to do. Costs that
    cannot be known are null.
    """
    done = dict(done_steps or {})
    to_do = sum(_steps_to_do(path, done) for path in plan.graph.paths)
    return {
        "name": plan.config.name,
        "run_dir": str(plan.layout.run_dir),
        "versions": [_version(plan, increment) for increment in plan.increments],
        "rehearsal": [_rehearsal(plan, each) for each in plan.rehearsal],
        "flops_per_token": plan.costs.flops_per_token,
        "currency": plan.costs.currency,
        "paradigms": {paradigm.name: _paradigm(plan, paradigm, done) for paradigm in plan.graph.paradigms},
        "marginal": _marginal(plan),
        "next": _next(plan),
        "graph": _cost(plan, plan.graph.total_steps) | {"checkpoint_bytes": _disk(plan, plan.graph)},
        "to_do": _cost(plan, to_do),
        "checkpoint_interval": interval_document(plan),
        "memory": memory_document(plan),
    }


def _steps_to_do(path: TrainingPath, done: Mapping[str, int]) -> int:
    return max(0, path.stop - max(path.start, done.get(path.name, path.start)))


def _cost(plan: Plan, steps: int) -> dict[str, Any]:
    """What some steps cost; wall_clock_hours is with all devices at work together."""
    cost, hardware = plan.costs.of(steps), plan.config.hardware
    hours = cost.device_hours
    return {
        "total_steps": cost.steps,
        "total_tokens": cost.tokens,
        "total_flops": cost.flops,
        "device_hours": hours,
        "wall_clock_hours": None if hours is None or hardware is None else hours / hardware.devices,
        "money": cost.money,
    }


def _version(plan: Plan, increment: Increment) -> dict[str, Any]:
    batch = plan.config.batch.sequences
    return {
        "name": increment.version,
        "rows": increment.rows,
        "steps": increment.steps,
        "tokens": increment.steps * plan.config.tokens_per_step,
        "remainder_rows": increment.rows - increment.used(batch),
        "manifest_sha256": _manifest_sha256(plan, increment.version),
    }


def _rehearsal(plan: Plan, each: RehearsalSet) -> dict[str, Any]:
    return {
        "name": each.name,
        "since": each.since,
        "rows": each.rows,
        "tokens": each.rows * plan.config.data.sequence_length,
        "manifest_sha256": _manifest_sha256(plan, each.name),
    }


def _manifest_sha256(plan: Plan, source: str) -> str | None:
    manifest = plan.manifests.get(source)
    return manifest.sha256 if manifest else None


def _paradigm(plan: Plan, paradigm: Paradigm, done: Mapping[str, int]) -> dict[str, Any]:
    steps = [increment.steps for increment in plan.increments]
    return {
        "kind": paradigm.kind,
        **_cost(plan, paradigm.total_steps),
        "ratio_to_ptfs": paradigm.total_steps / ptfs_steps(steps),
        "ratio_to_cpt": paradigm.total_steps / cpt_steps(steps),
        "checkpoint_bytes": _disk(plan, Graph((paradigm,))),
        "steps_to_do": sum(_steps_to_do(path, done) for path in paradigm.paths),
        "releases": [asdict(release) for release in paradigm.releases],
        "paths": [_path(plan, path, done) for path in paradigm.paths],
    }


def _path(plan: Plan, path: TrainingPath, done: Mapping[str, int]) -> dict[str, Any]:
    cost = plan.costs.of(path.steps)
    return {
        "name": path.name,
        "job": path.kind,
        "parent": None if path.parent is None else {"path": path.parent.path, "step": path.parent.step},
        "optimizer": "start" if path.parent is None else path.parent.optimizer,
        "start_step": path.start,
        "stop_step": path.stop,
        "steps": path.steps,
        "tokens": cost.tokens,
        "flops": cost.flops,
        "device_hours": cost.device_hours,
        "money": cost.money,
        "lr_start": path.lr_start,
        "lr_stop": path.lr_stop,
        "done_steps": path.steps - _steps_to_do(path, done),
        "data": [
            {"source": part.source, "from_row": part.from_row, "to_row": part.to_row}
            for segment in path.segments
            for part in segment.parts
        ],
        "mix_tokens": _mix_tokens(plan, path),
    }


def _mix_tokens(plan: Plan, path: TrainingPath) -> dict[str, int]:
    """Tokens of a path by what they are to its lineage."""
    parts = ((part, part.rows) for segment in path.segments for part in segment.parts)
    tokens = usage(path, parts, plan.increments, plan.rehearsal).times(plan.config.data.sequence_length)
    return {"new": tokens.unique, "replay": tokens.replayed, "rehearsal": tokens.rehearsal}


def _disk(plan: Plan, graph: Graph) -> int | None:
    """Bytes of the checkpoints that are kept for good, and of the periodic ones of one path at a time."""
    if plan.costs.checkpoint_bytes is None:
        return None
    settings = plan.config.checkpoint
    kept = sum(len(_kept_steps(graph, path, settings.keep_every_steps)) for path in graph.paths)
    periodic = settings.keep_last if settings.every_steps else 0
    return (kept + periodic) * plan.costs.checkpoint_bytes


def _kept_steps(graph: Graph, path: TrainingPath, every: int | None) -> set[int]:
    multiples = range(path.start // every * every + every, path.stop, every) if every else ()
    return {*graph.branch_points(path.name), path.stop, *multiples}


def _marginal(plan: Plan) -> dict[str, Any] | None:
    """What the last version added to each paradigm; null for a plan of one version."""
    if len(plan.increments) < 2:
        return None
    *before, last = plan.increments
    return _added(plan, compile_graph(plan.config, before, rehearsal=plan.rehearsal), plan.graph, last)


def _next(plan: Plan) -> dict[str, Any]:
    """What one more version, of the size of the last one, would add to each paradigm."""
    one_more = replace(plan.increments[-1], version=NEXT)
    more = compile_graph(plan.config, (*plan.increments, one_more), rehearsal=plan.rehearsal)
    return _added(plan, plan.graph, more, one_more)


def _added(plan: Plan, fewer: Graph, more: Graph, version: Increment) -> dict[str, Any]:
    return {
        new.name: {"version": version.version, **_cost(plan, new.total_steps - old.total_steps)}
        for old, new in zip(fewer.paradigms, more.paradigms, strict=True)
    }


def write_plan_json(plan: Plan) -> None:
    """Write <run>/plan.json: the resolved config, the plan document and what costs are computed with, so that a copied
    run explains itself (costs/recorded_plan.py)."""
    document = {
        "config": plan.config.model_dump(mode="json"),
        "plan": plan_document(plan),
        "costs": asdict(plan.costs),
        "paradigms": list(plan.config.paradigms),  # in their order, which JSON's sorted keys do not keep
    }
    plan.layout.run_dir.mkdir(parents=True, exist_ok=True)
    atomic_write_json(plan.layout.plan_json, document)
