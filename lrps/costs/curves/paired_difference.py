"""Paired difference of two states on the same held-out sequences: its noise is a fraction of that of their losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum, sqrt

from lrps.costs.curves.measured_losses import losses_of_rows, states_of_path
from lrps.ledger.reader import HeldoutEvaluation
from lrps.paths.graph import Fork, Release
from lrps.plan.plan import Plan
from lrps.plan.status import PathStatus


@dataclass(frozen=True)
class PairedDifference:
    """Loss of a version that branches from a main path minus that of the main path, on the same sequences."""

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


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of some values and its standard error, which is None for a single value."""
    n = len(values)
    mean = fsum(values) / n
    return mean, None if n == 1 else sqrt(fsum((value - mean) ** 2 for value in values) / (n - 1) / n)


def paired_differences(
    plan: Plan, release: Release, fork: Fork, released: PathStatus, main: PathStatus
) -> Iterator[PairedDifference]:
    """Yield the differences of a released version from the main path that its own path forks from.

    They are those to the main path's state at the fork, and at the step of the released state if the main path has
    passed it; for sets on which both were evaluated, with the losses of their sequences.
    """
    of_main = {(found.step, found.heldout): found for found in states_of_path(main)}
    for found in states_of_path(released):
        for step in (fork.step, release.step) if found.step == release.step else ():
            other = of_main.get((step, found.heldout))
            if other is None or other.manifest_sha256 != found.manifest_sha256:
                continue
            pair = _rows_of_both(plan, release.path, found, main.path.name, other)
            if pair:
                difference, error = mean_and_error(pair)
                where = (release.version, release.path, release.step, step, found.heldout)
                yield PairedDifference(*where, len(pair), difference, error)


def _rows_of_both(plan: Plan, path: str, found: HeldoutEvaluation, main: str, other: HeldoutEvaluation) -> list[float]:
    """Return the difference on every sequence that both evaluations have; empty without the losses of sequences."""
    one, two = losses_of_rows(plan, path, found), losses_of_rows(plan, main, other)
    return [] if one is None or two is None else [a - b for a, b in zip(one, two, strict=False)]
