"""Planned cost of watching main paths: the evaluations that training takes as it passes their steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from lrps.paths.evaluation_steps import LARGEST_SHARE
from lrps.paths.graph import TrainingPath
from lrps.plan.main_curve import cost_in_steps, curve_rows, main_curve
from lrps.plan.plan import Plan


@dataclass(frozen=True)
class MainWatch:
    """Evaluations of a main path while it is trained, and what they cost in addition to its steps."""

    evaluated_steps: tuple[int, ...]
    """Steps after which it is evaluated."""
    sequences: int
    """Number of held-out sequences of all these evaluations."""
    steps: float
    """Cost in optimizer steps: a sequence costs a third of one in a step, a fourth with activation checkpointing."""
    share_of_path: float
    """Cost over that of the steps of the path."""
    flops: int | None
    """Number of model FLOPs; null if those of a token are not known."""
    device_hours: float | None
    """Number of hours of one device, by the peak FLOP/s and the MFU of the config's hardware."""
    not_counted: tuple[str, ...]
    """Versions whose held-out shards do not exist yet."""

    @property
    def is_dear(self) -> bool:
        """True if it costs more than 1 % of the path."""
        return self.share_of_path > LARGEST_SHARE


def main_watches(plan: Plan) -> Mapping[str, MainWatch]:
    """Return the cost of watching every main path, by name; empty if main paths are not evaluated."""
    if plan.config.evaluation.main_every_steps is None:
        return {}
    return {path.name: _watch(plan, path) for path in plan.graph.paths if path.kind == "main"}


def _watch(plan: Plan, path: TrainingPath) -> MainWatch:
    curve, costs = main_curve(plan, path), plan.costs
    steps = sum((cost_in_steps(plan, versions) for versions in curve.values()), Fraction(0))
    flops = None if costs.flops_per_token is None else round(steps * costs.tokens_per_step * costs.flops_per_token)
    speed = costs.flops_per_device_hour
    return MainWatch(
        evaluated_steps=tuple(curve),
        sequences=sum(curve_rows(plan, version) for versions in curve.values() for version in versions),
        steps=float(steps),
        share_of_path=float(steps / path.steps),
        flops=flops,
        device_hours=None if flops is None or speed is None else flops / speed,
        not_counted=tuple(each.version for each in plan.increments if each.version not in plan.heldout),
    )
