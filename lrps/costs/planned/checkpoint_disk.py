"""Disk that the checkpoints of a plan take, from what retention keeps of them."""

from __future__ import annotations

from lrps.ledger.reader import MERGE
from lrps.paths.decoder import parameter_count
from lrps.paths.graph import Graph, TrainingPath
from lrps.paths.optimizer_states import WEIGHT_BYTES, ParameterCount, saved_bytes
from lrps.plan.plan import Plan
from lrps.store.retention import rewind_spread


def checkpoint_bytes(plan: Plan, graph: Graph) -> int | None:
    """Return the bytes of the checkpoints that are kept for good, and of the periodic ones of one path at a time.

    Without those that are kept to rewind to. Merged states have weights only. None if the size of one is not known.
    """
    largest, settings = plan.costs.checkpoint_bytes, plan.config.checkpoint
    if largest is None:
        return None

    def kept(path: TrainingPath) -> int:
        return _state_bytes(plan, path) * len(_kept_steps(graph, path, settings.keep_every_steps))

    periodic = settings.keep_last if settings.every_steps else 0
    merged = sum(release.form == MERGE for release in graph.releases)
    weights = WEIGHT_BYTES * _counted(plan).all
    return sum(map(kept, graph.paths)) + periodic * largest + merged * weights


def rewind_bytes(plan: Plan, graph: Graph) -> int | None:
    """Return the bytes of the states that trained paths keep to rewind to, beside `checkpoint_bytes`."""
    if plan.costs.checkpoint_bytes is None:
        return None
    settings = plan.config.checkpoint
    total = 0
    for path in graph.paths:
        if settings.keeps_for_rewind(path.kind):
            kept = _kept_steps(graph, path, settings.keep_every_steps)
            more = rewind_spread(kept | _kept_steps(graph, path, settings.every_steps)) - kept
            total += len(more) * _state_bytes(plan, path)
    return total


def _state_bytes(plan: Plan, path: TrainingPath) -> int:
    """Return the bytes of a checkpoint of a path."""
    return saved_bytes(plan.config, path.kind, _counted(plan))


def _counted(plan: Plan) -> ParameterCount:
    """Return the number of parameters of a plan whose checkpoints have a known size."""
    counted = parameter_count(plan.config.model)
    assert counted is not None
    return counted


def _kept_steps(graph: Graph, path: TrainingPath, every: int | None) -> set[int]:
    multiples = range(path.start // every * every + every, path.stop, every) if every else ()
    return {*graph.branch_points(path.name), path.stop, *multiples}
