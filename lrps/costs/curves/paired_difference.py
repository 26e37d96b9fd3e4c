"""Paired difference of two states on the same held-out sequences: its noise is a fraction of that of their losses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from math import fsum, sqrt

from lrps.base.document import OPTIONAL
from lrps.costs.curves.measured_losses import losses_of_rows, states_of_path
from lrps.ledger.reader import RAW, HeldoutEvaluation
from lrps.paths.graph import Release
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus


@dataclass(frozen=True)
class PairedDifference:
    """Loss of a version made from a main path minus that of the main path, on the same sequences."""

    released: str
    """Name of the released version."""
    path: str
    """Name of its path."""
    step: int
    """Lineage step of the released state."""
    main_step: int
    """Step of the main path's state: the fork, or the step of the released state."""
    version: str
    """Version of the held-out set."""
    rows: int
    """Number of sequences that both were evaluated on."""
    difference: float
    """Mean difference in nats per token; below 0 the released version is better."""
    standard_error: float | None
    """Standard error of the mean difference over the sequences; null with a single one."""
    form: str = field(default=RAW, metadata=OPTIONAL)
    """Form of the released weights: raw for a branch; ema or merge for an average of the main path's own weights."""


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of some values and its standard error, which is None for a single value."""
    n = len(values)
    mean = fsum(values) / n
    return mean, None if n == 1 else sqrt(fsum((value - mean) ** 2 for value in values) / (n - 1) / n)


def paired_differences(
    plan: Plan, release: Release, steps: Collection[int], released: PathStatus, main: PathStatus
) -> Iterator[PairedDifference]:
    """Yield the differences of a released version from a main path at some steps, as far as it was evaluated there.

    They are for sets on which both were evaluated, with the losses of their sequences.
    """
    of_main = {(found.step, found.heldout): found for found in states_of_path(main)}
    for found in states_of_path(released, release.form):
        for step in steps if found.step == release.step else ():
            other = of_main.get((step, found.heldout))
            if other is None or other.manifest_sha256 != found.manifest_sha256:
                continue
            pair = differences_of_rows(plan, (release.path, found), (main.path.name, other))
            if pair:
                difference, error = mean_and_error(pair)
                where = (release.version, release.path, release.step, step, found.heldout)
                yield PairedDifference(*where, len(pair), difference, error, release.form)


Evaluated = tuple[str, HeldoutEvaluation]
"""Name of a path, and an evaluation of one of its states."""


def differences_of_rows(plan: Plan, one: Evaluated, other: Evaluated) -> list[float]:
    """Return the difference on every sequence that both evaluations have; empty without the losses of sequences."""
    first, second = losses_of_rows(plan, *one), losses_of_rows(plan, *other)
    return [] if first is None or second is None else [a - b for a, b in zip(first, second, strict=False)]
