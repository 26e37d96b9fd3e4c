"""Held-out curve of a main path: the steps after which it is evaluated, the sets, and what that costs in steps.

The trainer evaluates at these steps when it passes them, and the plan counts them; both ask this module. Imports no
torch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping
from fractions import Fraction
from itertools import accumulate

from lrps.ledger.reader import MERGE, EvaluationKey, HeldoutEvaluation, evaluations, read_ledger
from lrps.paths.evaluation_steps import evaluation_steps
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan


def main_curve(plan: Plan, path: TrainingPath) -> dict[int, tuple[str, ...]]:
    """Return step -> held-out versions of the evaluations of a main path; nothing for a path of another kind.

    Steps of released states are left out: releases are evaluated on their own sets, on all of their sequences.
    """
    every = plan.config.evaluation.main_every_steps
    if path.kind != "main" or every is None:
        return {}
    edges = [0, *accumulate(increment.steps for increment in plan.increments)]
    forks = [child.start for child in plan.graph.paths if child.parent and child.parent.path == path.name]
    heldout, released = heldout_after(plan, path), released_steps(plan, path)
    steps = evaluation_steps(edges, forks, every, lambda step: cost_in_steps(plan, heldout(step)))
    found = {step: heldout(step) for step in steps if step <= path.stop and step not in released}
    return {step: versions for step, versions in found.items() if versions}


def curve_to_come(plan: Plan, path: TrainingPath, step: int) -> dict[int, tuple[str, ...]]:
    """Return the evaluations of a main path that training passes from the state of `step` on.

    That state is one of them if it was saved but not evaluated, as when an attempt is interrupted between the two.
    """
    later = {at: versions for at, versions in main_curve(plan, path).items() if at >= step}
    here = later.pop(step, ())
    if here and (missing := not_evaluated(plan, newest_evaluations(plan, path), step, here)):
        return {step: missing, **later}
    return later


Evaluations = Mapping[EvaluationKey, HeldoutEvaluation]
"""Newest evaluation by step, held-out version and form of the weights."""


def newest_evaluations(plan: Plan, path: TrainingPath) -> Evaluations:
    """Return the evaluations in the ledger of a path."""
    return evaluations(read_ledger(plan.layout.path(path.name).ledger, heartbeats=False))


def not_evaluated(plan: Plan, done: Evaluations, step: int, versions: Iterable[str]) -> tuple[str, ...]:
    """Return those of the versions on whose first held-out sequences there is no result of the state of a step."""

    def is_done(version: str) -> bool:
        found = done.get(EvaluationKey(step, version))
        wanted = (plan.heldout[version].sha256, curve_rows(plan, version))
        return found is not None and (found.manifest_sha256, found.rows) == wanted

    return tuple(version for version in versions if not is_done(version))


def released_steps(plan: Plan, path: TrainingPath) -> frozenset[int]:
    """Return the steps of the path after which its own state, or the average in it, is a released version."""
    found = (each for each in plan.graph.releases if each.path == path.name and each.form != MERGE)
    return frozenset(release.step for release in found)


def heldout_after(plan: Plan, path: TrainingPath) -> Callable[[int], tuple[str, ...]]:
    """Return the function from a step of a path to the versions with held-out shards that it is evaluated on there.

    They are those of the next version: the one whose branch forks, or that the path itself releases, at that step or
    at the first later one; beyond all of these, those of the last version.
    """
    order = [increment.version for increment in plan.increments]
    nexts = sorted((step, order.index(version)) for step, version in _versions_of(plan, path))
    latest = dict(nexts)  # Of several versions at one step the newest.
    steps = sorted(latest)
    measured_on = [tuple(v for v in plan.heldout_versions(version) if v in plan.heldout) for version in order]

    def heldout(step: int) -> tuple[str, ...]:
        place = bisect_left(steps, step)
        return measured_on[latest[steps[place]] if place < len(steps) else -1]

    return heldout


def _versions_of(plan: Plan, path: TrainingPath) -> list[tuple[int, str]]:
    """Return (step of the path, version) of every version that is released from it or from a path that forks there."""
    found = []
    for release in plan.graph.releases:
        released = plan.graph.by_name[release.path]
        if released.name == path.name:
            found.append((release.step, release.version))
        elif released.parent is not None and released.parent.path == path.name:
            found.append((released.start, release.version))
    return found


def curve_rows(plan: Plan, version: str) -> int:
    """Return the number of sequences of a held-out set that main paths are evaluated on, from the first one."""
    rows, cap = plan.heldout_rows(version), plan.config.evaluation.main_max_rows
    return min(rows, cap or rows)


def cost_in_steps(plan: Plan, versions: Collection[str]) -> Fraction:
    """Return the cost of an evaluation on the held-out sets of these versions, in optimizer steps.

    A sequence costs a forward pass: a third of what it costs in a step, or with activation checkpointing a fourth.
    """
    passes = 4 if plan.config.engine.activation_checkpointing else 3
    forms = 1 if plan.config.average is None else 2  # The average is evaluated beside the weights.
    rows = forms * sum(curve_rows(plan, version) for version in versions)
    return Fraction(rows, passes * plan.config.batch.sequences)
